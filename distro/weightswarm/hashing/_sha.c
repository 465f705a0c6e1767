/* SHA-256 and SHA-1 several at a time, by x86's SHA extensions.
 *
 * Each round waits for the one before it, and the unit that computes them is idle three quarters of that time. So two or
 * three hashes of the same bytes, or of two streams, are computed round by round beside each other: a second one costs
 * next to nothing. Two SHA-256 of the same blocks share their message schedule as well.
 *
 * And the mapping of files: a small one is hashed in less time than the interpreter takes to get at it.
 *
 * FIPS 180-4; BEP 52 for leaves and trees. What `portable.py` does with hashlib, this does to the bit.
 */
#define Py_LIMITED_API 0x030b0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#if !defined(__x86_64__)
#error "only for x86-64: elsewhere hashlib does the work"
#endif

#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <immintrin.h>
#include <limits.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK 64
#define LEAF 16384
#define DIGEST 32
/* Shorter work is done before another thread could take up the interpreter. */
#define WORTH_RELEASING 4096

#define WITH_SHA __attribute__((target("sha,sse4.1")))
#define STEP WITH_SHA static inline __attribute__((always_inline))

static const uint32_t BEGIN256[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                     0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
static const uint32_t BEGIN1[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};

static const uint32_t K[64] __attribute__((aligned(16))) = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

/* --- SHA-256, four rounds at a time; the state as the instructions want it ------------------------------------- */

typedef struct {
    __m128i abef, cdgh;
} State256;

STEP State256 load256(const uint32_t *words) {
    __m128i abcd = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)words), 0xB1);
    __m128i efgh = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(words + 4)), 0x1B);
    return (State256){_mm_alignr_epi8(abcd, efgh, 8), _mm_blend_epi16(efgh, abcd, 0xF0)};
}

STEP void store256(uint32_t *words, State256 state) {
    __m128i feba = _mm_shuffle_epi32(state.abef, 0x1B), dchg = _mm_shuffle_epi32(state.cdgh, 0xB1);
    _mm_storeu_si128((__m128i *)words, _mm_blend_epi16(feba, dchg, 0xF0));
    _mm_storeu_si128((__m128i *)(words + 4), _mm_alignr_epi8(dchg, feba, 8));
}

STEP State256 plus256(State256 a, State256 b) {
    return (State256){_mm_add_epi32(a.abef, b.abef), _mm_add_epi32(a.cdgh, b.cdgh)};
}

/* Put words 4i to 4i + 3 of the message schedule into its ring of sixteen. */
STEP void schedule256(__m128i *ring, const uint8_t *block, int i) {
    if (i < 4) {
        const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL);
        ring[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(block + 16 * i)), big_endian);
        return;
    }
    __m128i last = ring[(i + 3) & 3];
    __m128i sum = _mm_sha256msg1_epu32(ring[i & 3], ring[(i + 1) & 3]);
    sum = _mm_add_epi32(sum, _mm_alignr_epi8(last, ring[(i + 2) & 3], 4));
    ring[i & 3] = _mm_sha256msg2_epu32(sum, last);
}

STEP __m128i keyed(const __m128i *ring, int i) {
    return _mm_add_epi32(ring[i & 3], _mm_load_si128((const __m128i *)K + i));
}

STEP void rounds256(State256 *a, __m128i words) {
    a->cdgh = _mm_sha256rnds2_epu32(a->cdgh, a->abef, words);
    a->abef = _mm_sha256rnds2_epu32(a->abef, a->cdgh, _mm_shuffle_epi32(words, 0x0E));
}

STEP void rounds256_two(State256 *a, __m128i words_a, State256 *b, __m128i words_b) {
    a->cdgh = _mm_sha256rnds2_epu32(a->cdgh, a->abef, words_a);
    b->cdgh = _mm_sha256rnds2_epu32(b->cdgh, b->abef, words_b);
    a->abef = _mm_sha256rnds2_epu32(a->abef, a->cdgh, _mm_shuffle_epi32(words_a, 0x0E));
    b->abef = _mm_sha256rnds2_epu32(b->abef, b->cdgh, _mm_shuffle_epi32(words_b, 0x0E));
}

/* --- SHA-1, four rounds at a time ------------------------------------------------------------------------------ */

typedef struct {
    __m128i abcd, e, before;
} State1;

STEP State1 load1(const uint32_t *words) {
    __m128i e = _mm_set_epi32((int)words[4], 0, 0, 0);
    return (State1){_mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)words), 0x1B), e, e};
}

STEP void store1(uint32_t *words, State1 state) {
    _mm_storeu_si128((__m128i *)words, _mm_shuffle_epi32(state.abcd, 0x1B));
    words[4] = (uint32_t)_mm_extract_epi32(state.e, 3);
}

STEP State1 plus1(State1 a, State1 b) {
    a.e = _mm_sha1nexte_epu32(a.before, b.e);
    a.abcd = _mm_add_epi32(a.abcd, b.abcd);
    return a;
}

STEP void schedule1(__m128i *ring, const uint8_t *block, int i) {
    if (i < 4) {
        const __m128i big_endian = _mm_set_epi64x(0x0001020304050607LL, 0x08090a0b0c0d0e0fLL);
        ring[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(block + 16 * i)), big_endian);
        return;
    }
    __m128i sum = _mm_xor_si128(_mm_sha1msg1_epu32(ring[i & 3], ring[(i + 1) & 3]), ring[(i + 2) & 3]);
    ring[i & 3] = _mm_sha1msg2_epu32(sum, ring[(i + 3) & 3]);
}

STEP void rounds1(State1 *a, __m128i words, int i) {
    __m128i e = i == 0 ? _mm_add_epi32(a->e, words) : _mm_sha1nexte_epu32(a->before, words);
    a->before = a->abcd;
    switch (i / 5) {
    case 0: a->abcd = _mm_sha1rnds4_epu32(a->abcd, e, 0); break;
    case 1: a->abcd = _mm_sha1rnds4_epu32(a->abcd, e, 1); break;
    case 2: a->abcd = _mm_sha1rnds4_epu32(a->abcd, e, 2); break;
    default: a->abcd = _mm_sha1rnds4_epu32(a->abcd, e, 3);
    }
}

/* --- whole blocks ------------------------------------------------------------------------------------------------ */

WITH_SHA static void one256(uint32_t *words, const uint8_t *data, size_t blocks) {
    State256 a = load256(words);
    for (; blocks; blocks--, data += BLOCK) {
        State256 before = a;
        __m128i ring[4];
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++) {
            schedule256(ring, data, i);
            rounds256(&a, keyed(ring, i));
        }
        a = plus256(a, before);
    }
    store256(words, a);
}

WITH_SHA static void one1(uint32_t *words, const uint8_t *data, size_t blocks) {
    State1 a = load1(words);
    for (; blocks; blocks--, data += BLOCK) {
        State1 before = a;
        __m128i ring[4];
#pragma GCC unroll 20
        for (int i = 0; i < 20; i++) {
            schedule1(ring, data, i);
            rounds1(&a, ring[i & 3], i);
        }
        a = plus1(a, before);
    }
    store1(words, a);
}

/* Two SHA-256 of two streams. */
WITH_SHA static void two_streams(uint32_t *words_a, const uint8_t *data_a, uint32_t *words_b, const uint8_t *data_b,
                                 size_t blocks) {
    State256 a = load256(words_a), b = load256(words_b);
    for (; blocks; blocks--, data_a += BLOCK, data_b += BLOCK) {
        State256 before_a = a, before_b = b;
        __m128i ring_a[4], ring_b[4];
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++) {
            schedule256(ring_a, data_a, i);
            schedule256(ring_b, data_b, i);
            rounds256_two(&a, keyed(ring_a, i), &b, keyed(ring_b, i));
        }
        a = plus256(a, before_a);
        b = plus256(b, before_b);
    }
    store256(words_a, a);
    store256(words_b, b);
}

/* Two SHA-256 of the same blocks, begun at different places. */
WITH_SHA static void same_blocks(uint32_t *words_a, uint32_t *words_b, const uint8_t *data, size_t blocks) {
    State256 a = load256(words_a), b = load256(words_b);
    for (; blocks; blocks--, data += BLOCK) {
        State256 before_a = a, before_b = b;
        __m128i ring[4];
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++) {
            schedule256(ring, data, i);
            __m128i words = keyed(ring, i);
            rounds256_two(&a, words, &b, words);
        }
        a = plus256(a, before_a);
        b = plus256(b, before_b);
    }
    store256(words_a, a);
    store256(words_b, b);
}

WITH_SHA static void same_blocks_sha1(uint32_t *words_a, uint32_t *words_b, uint32_t *words_c, const uint8_t *data,
                                      size_t blocks) {
    State256 a = load256(words_a), b = load256(words_b);
    State1 c = load1(words_c);
    for (; blocks; blocks--, data += BLOCK) {
        State256 before_a = a, before_b = b;
        State1 before_c = c;
        __m128i ring[4], ring1[4];
#pragma GCC unroll 20
        for (int i = 0; i < 20; i++) {
            if (i < 16) {
                schedule256(ring, data, i);
                __m128i words = keyed(ring, i);
                rounds256_two(&a, words, &b, words);
            }
            schedule1(ring1, data, i);
            rounds1(&c, ring1[i & 3], i);
        }
        a = plus256(a, before_a);
        b = plus256(b, before_b);
        c = plus1(c, before_c);
    }
    store256(words_a, a);
    store256(words_b, b);
    store1(words_c, c);
}

WITH_SHA static void one256_sha1(uint32_t *words_a, uint32_t *words_c, const uint8_t *data, size_t blocks) {
    State256 a = load256(words_a);
    State1 c = load1(words_c);
    for (; blocks; blocks--, data += BLOCK) {
        State256 before_a = a;
        State1 before_c = c;
        __m128i ring[4], ring1[4];
#pragma GCC unroll 20
        for (int i = 0; i < 20; i++) {
            if (i < 16) {
                schedule256(ring, data, i);
                rounds256(&a, keyed(ring, i));
            }
            schedule1(ring1, data, i);
            rounds1(&c, ring1[i & 3], i);
        }
        a = plus256(a, before_a);
        c = plus1(c, before_c);
    }
    store256(words_a, a);
    store1(words_c, c);
}

/* --- messages of any length -------------------------------------------------------------------------------------- */

typedef void (*Compress)(uint32_t *, const uint8_t *, size_t);

/* `words` of state, `length` bytes so far; those of the last block, if it is not whole, are in `pending`. */
typedef struct {
    uint32_t words[8];
    uint64_t length;
    uint8_t pending[BLOCK];
} Running;

static void extend(Running *running, Compress compress, const uint8_t *data, size_t size) {
    size_t filled = running->length % BLOCK;
    if (!size) return;
    running->length += size;
    if (filled) {
        size_t part = size < BLOCK - filled ? size : BLOCK - filled;
        memcpy(running->pending + filled, data, part);
        data += part;
        size -= part;
        if (filled + part < BLOCK) return;
        compress(running->words, running->pending, 1);
    }
    compress(running->words, data, size / BLOCK);
    memcpy(running->pending, data + size / BLOCK * BLOCK, size % BLOCK);
}

/* Write the digest of so many words; `running` is of no more use then. */
static void finish(Running *running, Compress compress, int words, uint8_t *digest) {
    uint8_t tail[2 * BLOCK] = {0};
    size_t filled = running->length % BLOCK, blocks = filled < BLOCK - 8 ? 1 : 2;
    memcpy(tail, running->pending, filled);
    tail[filled] = 0x80;
    uint64_t bits = running->length * 8;
    for (int i = 0; i < 8; i++) tail[blocks * BLOCK - 1 - i] = (uint8_t)(bits >> (8 * i));
    compress(running->words, tail, blocks);
    for (int i = 0; i < 4 * words; i++) digest[i] = (uint8_t)(running->words[i / 4] >> (24 - 8 * (i % 4)));
}

static void begin256(Running *running) {
    memcpy(running->words, BEGIN256, sizeof BEGIN256);
    running->length = 0;
}

static void whole256(const uint8_t *data, size_t size, uint8_t *digest) {
    Running running;
    begin256(&running);
    extend(&running, one256, data, size);
    finish(&running, one256, 8, digest);
}

/* Two messages of the same size. */
static void two_whole256(const uint8_t *a, const uint8_t *b, size_t size, uint8_t *digest_a, uint8_t *digest_b) {
    Running first, second;
    size_t whole = size / BLOCK * BLOCK;
    begin256(&first);
    begin256(&second);
    two_streams(first.words, a, second.words, b, whole / BLOCK);
    first.length = second.length = whole;
    extend(&first, one256, a + whole, size - whole);
    extend(&second, one256, b + whole, size - whole);
    finish(&first, one256, 8, digest_a);
    finish(&second, one256, 8, digest_b);
}

static void extend_two(Running *a, const uint8_t *data_a, size_t size_a, Running *b, const uint8_t *data_b,
                       size_t size_b) {
    size_t least = size_a < size_b ? size_a : size_b, whole = least / BLOCK * BLOCK;
    if (a->length % BLOCK == 0 && b->length % BLOCK == 0) {
        two_streams(a->words, data_a, b->words, data_b, whole / BLOCK);
        a->length += whole;
        b->length += whole;
        data_a += whole, size_a -= whole;
        data_b += whole, size_b -= whole;
    }
    extend(a, one256, data_a, size_a);
    extend(b, one256, data_b, size_b);
}

/* Write the SHA-256 of each 16 KiB; extend `stream` and `sha1`, where there are any, by the same bytes. */
static void hash_leaves(const uint8_t *data, size_t size, Running *stream, Running *sha1, uint8_t *digests) {
    int aligned = (!stream || stream->length % BLOCK == 0) && (!sha1 || sha1->length % BLOCK == 0);
    if (!aligned) {
        if (stream) extend(stream, one256, data, size);
        if (sha1) extend(sha1, one1, data, size);
        stream = sha1 = NULL;
    }
    while (size) {
        size_t part = size < LEAF ? size : LEAF, blocks = part / BLOCK, whole = blocks * BLOCK;
        if (!stream && !sha1 && size >= 2 * LEAF) {
            two_whole256(data, data + LEAF, LEAF, digests, digests + DIGEST);
            data += 2 * LEAF, size -= 2 * LEAF, digests += 2 * DIGEST;
            continue;
        }
        Running leaf;
        begin256(&leaf);
        if (stream && sha1) same_blocks_sha1(leaf.words, stream->words, sha1->words, data, blocks);
        else if (stream) same_blocks(leaf.words, stream->words, data, blocks);
        else if (sha1) one256_sha1(leaf.words, sha1->words, data, blocks);
        else one256(leaf.words, data, blocks);
        leaf.length = whole;
        extend(&leaf, one256, data + whole, part - whole);
        finish(&leaf, one256, 8, digests);
        if (stream) {
            stream->length += whole;
            extend(stream, one256, data + whole, part - whole);
        }
        if (sha1) {
            sha1->length += whole;
            extend(sha1, one1, data + whole, part - whole);
        }
        data += part, size -= part, digests += DIGEST;
    }
}

/* Reduce `count` hashes to the root over `width` leaves, a power of two; `filler` stands for those that are missing. */
static void fold(uint8_t *hashes, size_t count, size_t width, uint8_t *filler, uint8_t *root) {
    uint8_t twice[2 * DIGEST];
    for (; width > 1; width /= 2) {
        if (count % 2) memcpy(hashes + DIGEST * count++, filler, DIGEST);
        size_t i = 0;
        for (; i + 4 <= count; i += 4)
            two_whole256(hashes + DIGEST * i, hashes + DIGEST * (i + 2), 2 * DIGEST, hashes + DIGEST * (i / 2),
                         hashes + DIGEST * (i / 2 + 1));
        if (i < count) whole256(hashes + DIGEST * i, 2 * DIGEST, hashes + DIGEST * (i / 2));
        count /= 2;
        memcpy(twice, filler, DIGEST);
        memcpy(twice + DIGEST, filler, DIGEST);
        whole256(twice, 2 * DIGEST, filler);
    }
    memcpy(root, count ? hashes : filler, DIGEST);
}

/* --- for Python -------------------------------------------------------------------------------------------------- */

typedef struct {
    PyObject *sha256, *sha1, *span;
} Types;

/* The state is copied out before the interpreter is let go, and back after: threads may spoil a digest, no memory. */
typedef struct {
    PyObject_HEAD
    Running running;
} Hash;

static PyObject *new_hash(PyTypeObject *type, const uint32_t *words, size_t size) {
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    Hash *self = (Hash *)allocate(type, 0);
    if (self) memcpy(self->running.words, words, size);
    return (PyObject *)self;
}

static PyObject *new_sha256(PyTypeObject *type, PyObject *args, PyObject *keywords) {
    return new_hash(type, BEGIN256, sizeof BEGIN256);
}

static PyObject *new_sha1(PyTypeObject *type, PyObject *args, PyObject *keywords) {
    return new_hash(type, BEGIN1, sizeof BEGIN1);
}

static void free_hash(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

static PyObject *update(PyObject *self, PyObject *argument, Compress compress) {
    Py_buffer data;
    if (PyObject_GetBuffer(argument, &data, PyBUF_SIMPLE) < 0) return NULL;
    Running running = ((Hash *)self)->running;
    PyThreadState *saved = data.len >= WORTH_RELEASING ? PyEval_SaveThread() : NULL;
    extend(&running, compress, data.buf, (size_t)data.len);
    if (saved) PyEval_RestoreThread(saved);
    ((Hash *)self)->running = running;
    PyBuffer_Release(&data);
    Py_RETURN_NONE;
}

static PyObject *update_sha256(PyObject *self, PyObject *data) { return update(self, data, one256); }
static PyObject *update_sha1(PyObject *self, PyObject *data) { return update(self, data, one1); }

static PyObject *digest_sha256(PyObject *self, PyObject *none) {
    uint8_t digest[DIGEST];
    Running running = ((Hash *)self)->running;
    finish(&running, one256, 8, digest);
    return PyBytes_FromStringAndSize((char *)digest, sizeof digest);
}

static PyObject *digest_sha1(PyObject *self, PyObject *none) {
    uint8_t digest[20];
    Running running = ((Hash *)self)->running;
    finish(&running, one1, 5, digest);
    return PyBytes_FromStringAndSize((char *)digest, sizeof digest);
}

static PyMethodDef sha256_methods[] = {{"update", update_sha256, METH_O, NULL},
                                       {"digest", digest_sha256, METH_NOARGS, NULL},
                                       {NULL}};
static PyMethodDef sha1_methods[] = {{"update", update_sha1, METH_O, NULL},
                                     {"digest", digest_sha1, METH_NOARGS, NULL},
                                     {NULL}};
static PyType_Slot sha256_slots[] = {
    {Py_tp_new, new_sha256}, {Py_tp_dealloc, free_hash}, {Py_tp_methods, sha256_methods}, {0, NULL}};
static PyType_Slot sha1_slots[] = {
    {Py_tp_new, new_sha1}, {Py_tp_dealloc, free_hash}, {Py_tp_methods, sha1_methods}, {0, NULL}};
static PyType_Spec sha256_spec = {"weightswarm.hashing._sha.Sha256", sizeof(Hash), 0, Py_TPFLAGS_DEFAULT, sha256_slots};
static PyType_Spec sha1_spec = {"weightswarm.hashing._sha.Sha1", sizeof(Hash), 0, Py_TPFLAGS_DEFAULT, sha1_slots};

static int is_hash(PyObject *object, PyObject *type) {
    if (Py_TYPE(object) == (PyTypeObject *)type) return 1;
    PyErr_SetString(PyExc_TypeError, "not a hash of this module");
    return 0;
}

static PyObject *leaves(PyObject *module, PyObject *args) {
    Types *types = PyModule_GetState(module);
    Py_buffer data;
    PyObject *sha256 = Py_None, *sha1 = Py_None, *digests = NULL;
    if (!PyArg_ParseTuple(args, "y*|OO:leaves", &data, &sha256, &sha1)) return NULL;
    if ((sha256 != Py_None && !is_hash(sha256, types->sha256)) || (sha1 != Py_None && !is_hash(sha1, types->sha1)))
        goto done;
    digests = PyBytes_FromStringAndSize(NULL, (data.len + LEAF - 1) / LEAF * DIGEST);
    if (!digests) goto done;
    uint8_t *into = (uint8_t *)PyBytes_AsString(digests);
    Running stream, first;
    if (sha256 != Py_None) stream = ((Hash *)sha256)->running;
    if (sha1 != Py_None) first = ((Hash *)sha1)->running;
    PyThreadState *saved = data.len >= WORTH_RELEASING ? PyEval_SaveThread() : NULL;
    hash_leaves(data.buf, (size_t)data.len, sha256 == Py_None ? NULL : &stream, sha1 == Py_None ? NULL : &first, into);
    if (saved) PyEval_RestoreThread(saved);
    if (sha256 != Py_None) ((Hash *)sha256)->running = stream;
    if (sha1 != Py_None) ((Hash *)sha1)->running = first;
done:
    PyBuffer_Release(&data);
    return digests;
}

static PyObject *update_two(PyObject *module, PyObject *args) {
    Types *types = PyModule_GetState(module);
    PyObject *a, *b, *result = NULL;
    Py_buffer data_a, data_b;
    if (!PyArg_ParseTuple(args, "Oy*Oy*:update_two", &a, &data_a, &b, &data_b)) return NULL;
    if (!is_hash(a, types->sha256) || !is_hash(b, types->sha256)) goto done;
    if (a == b) {
        PyErr_SetString(PyExc_ValueError, "one hash cannot take two streams");
        goto done;
    }
    Running first = ((Hash *)a)->running, second = ((Hash *)b)->running;
    PyThreadState *saved = data_a.len + data_b.len >= WORTH_RELEASING ? PyEval_SaveThread() : NULL;
    extend_two(&first, data_a.buf, (size_t)data_a.len, &second, data_b.buf, (size_t)data_b.len);
    if (saved) PyEval_RestoreThread(saved);
    ((Hash *)a)->running = first;
    ((Hash *)b)->running = second;
    result = Py_NewRef(Py_None);
done:
    PyBuffer_Release(&data_a);
    PyBuffer_Release(&data_b);
    return result;
}

static PyObject *tree_root(PyObject *module, PyObject *args) {
    Py_buffer hashes, filler;
    Py_ssize_t width;
    PyObject *root = NULL;
    uint8_t *work = NULL;
    if (!PyArg_ParseTuple(args, "y*ny*:tree_root", &hashes, &width, &filler)) return NULL;
    if (width < 1 || width & (width - 1) || hashes.len % DIGEST || hashes.len / DIGEST > width ||
        filler.len != DIGEST) {
        PyErr_SetString(PyExc_ValueError, "no tree of SHA-256 hashes");
        goto done;
    }
    work = PyMem_Malloc((size_t)hashes.len + DIGEST);
    if (!work) {
        PyErr_NoMemory();
        goto done;
    }
    uint8_t digest[DIGEST], fill[DIGEST];
    memcpy(work, hashes.buf, (size_t)hashes.len);
    memcpy(fill, filler.buf, DIGEST);
    PyThreadState *saved = hashes.len >= WORTH_RELEASING ? PyEval_SaveThread() : NULL;
    fold(work, (size_t)hashes.len / DIGEST, (size_t)width, fill, digest);
    if (saved) PyEval_RestoreThread(saved);
    root = PyBytes_FromStringAndSize((char *)digest, DIGEST);
done:
    PyMem_Free(work);
    PyBuffer_Release(&hashes);
    PyBuffer_Release(&filler);
    return root;
}

/* A span of a file that is mapped as long as somebody looks at it. */
typedef struct {
    PyObject_HEAD
    void *begin;
    size_t mapped;
    char *data;
    Py_ssize_t size;
} Span;

static int look_at_span(PyObject *self, Py_buffer *view, int flags) {
    return PyBuffer_FillInfo(view, self, ((Span *)self)->data, ((Span *)self)->size, 1, flags);
}

static void free_span(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    if (((Span *)self)->mapped) munmap(((Span *)self)->begin, ((Span *)self)->mapped);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

static PyType_Slot span_slots[] = {{Py_tp_dealloc, free_span}, {Py_bf_getbuffer, look_at_span}, {0, NULL}};
static PyType_Spec span_spec = {"weightswarm.hashing._sha.Span", sizeof(Span), 0,
                                Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, span_slots};

/* Map a span of a file that reaches its end, with `ahead` bytes more on their way; return -1 with errno. */
static int map_file(const char *path, off_t offset, off_t ahead, Span *span, struct stat *status) {
    int descriptor = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (descriptor < 0) return -1;
    int failed = fstat(descriptor, status), error = errno;
    if (!failed && span->size && status->st_size >= span->size && status->st_size - span->size >= offset) {
        size_t skip = (size_t)offset % (size_t)sysconf(_SC_PAGESIZE);
        if (ahead) posix_fadvise(descriptor, offset, span->size + ahead, POSIX_FADV_WILLNEED);
        span->mapped = (size_t)span->size + skip;
        span->begin = mmap(NULL, span->mapped, PROT_READ, MAP_SHARED, descriptor, offset - (off_t)skip);
        if (span->begin == MAP_FAILED) span->mapped = 0;
        else span->data = (char *)span->begin + skip;
    }
    close(descriptor);
    errno = error;
    return failed;
}

static PyObject *map_span(PyObject *module, PyObject *args) {
    PyTypeObject *type = (PyTypeObject *)((Types *)PyModule_GetState(module))->span;
    PyObject *path, *result = NULL;
    Span *span = NULL;
    long long offset, length, ahead;
    if (!PyArg_ParseTuple(args, "O&LLL:map_span", PyUnicode_FSConverter, &path, &offset, &length, &ahead)) return NULL;
    if (offset < 0 || length < 0 || ahead < 0 || length > LLONG_MAX - ahead) {
        PyErr_SetString(PyExc_ValueError, "no span of a file");
        goto done;
    }
    span = (Span *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
    if (!span) goto done;
    span->size = length;
    struct stat status;
    PyThreadState *saved = PyEval_SaveThread();
    int failed = map_file(PyBytes_AsString(path), offset, ahead, span, &status);
    PyEval_RestoreThread(saved);
    if (failed) PyErr_SetFromErrnoWithFilenameObject(PyExc_OSError, path);
    else
        result = Py_BuildValue("OKKL", span->mapped ? (PyObject *)span : Py_None, (unsigned long long)status.st_dev,
                               (unsigned long long)status.st_ino, (long long)status.st_size);
done:
    Py_XDECREF((PyObject *)span);
    Py_DECREF(path);
    return result;
}

static PyMethodDef functions[] = {{"leaves", leaves, METH_VARARGS, NULL},
                                  {"update_two", update_two, METH_VARARGS, NULL},
                                  {"tree_root", tree_root, METH_VARARGS, NULL},
                                  {"map_span", map_span, METH_VARARGS, NULL},
                                  {NULL}};

static int has_sha(void) {
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_SSE4_1) || !(c & bit_SSSE3)) return 0;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_SHA);
}

static int execute(PyObject *module) {
    if (!has_sha()) {
        PyErr_SetString(PyExc_ImportError, "this processor has no SHA extensions");
        return -1;
    }
    Types *types = PyModule_GetState(module);
    types->sha256 = PyType_FromModuleAndSpec(module, &sha256_spec, NULL);
    types->sha1 = PyType_FromModuleAndSpec(module, &sha1_spec, NULL);
    types->span = PyType_FromModuleAndSpec(module, &span_spec, NULL);
    if (!types->sha256 || !types->sha1 || !types->span) return -1;
    if (PyModule_AddObjectRef(module, "Sha256", types->sha256) < 0) return -1;
    return PyModule_AddObjectRef(module, "Sha1", types->sha1);
}

static int traverse(PyObject *module, visitproc visit, void *arg) {
    Types *types = PyModule_GetState(module);
    Py_VISIT(types->sha256);
    Py_VISIT(types->sha1);
    Py_VISIT(types->span);
    return 0;
}

static int clear(PyObject *module) {
    Types *types = PyModule_GetState(module);
    Py_CLEAR(types->sha256);
    Py_CLEAR(types->sha1);
    Py_CLEAR(types->span);
    return 0;
}

static PyModuleDef_Slot module_slots[] = {{Py_mod_exec, execute}, {0, NULL}};
static PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_sha", NULL, sizeof(Types), functions, module_slots, traverse, clear, NULL};

PyMODINIT_FUNC PyInit__sha(void) { return PyModuleDef_Init(&definition); }
