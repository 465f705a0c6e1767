"""Options that several commands share. Nearly each is read from the environment too, as `WEIGHTSWARM_<OPTION>`."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import click
from click.core import ParameterSource

from weightswarm.errors import InvalidInput, without_passwords

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from weightswarm.dialling import Interface, Proxy
    from weightswarm.magnet import PeerAddress
    from weightswarm.scheduling import Window
    from weightswarm.swarm import NetworkOptions

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

TRACKER_SCHEMES = ("udp", "http", "https", "ws", "wss")
WEB_SEED_SCHEMES = ("http", "https")
HUB = "hub"
"""Stands for the release's own folder at the Hugging Face Hub, where web seeds are named."""
_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
_SIZE = re.compile(r"(\d{1,12}(?:\.\d{1,3})?)\s*([kmg]?)(?:i?b)?(?:/s)?", re.IGNORECASE)


class EnvOption(click.Option):
    """An option that is also read from the environment, under its own long name unless `envvar` says otherwise."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "envvar" in kwargs:
            return
        long = next(name for name in self.opts if name.startswith("--"))
        self.envvar = f"WEIGHTSWARM_{long[2:].replace('-', '_').upper()}"

    def get_error_hint(self, ctx: click.Context | None) -> str:
        """The option as it is typed, and the variable where that says what is wrong."""
        hint = super().get_error_hint(ctx)
        source = None if ctx is None or self.name is None else ctx.get_parameter_source(self.name)
        return f"{hint} ({self.envvar})" if source is ParameterSource.ENVIRONMENT else hint

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """What its type completes, else the files or folders that its metavar promises."""
        from weightswarm.cli.completing import complete_by_metavar

        return super().shell_complete(ctx, incomplete) or complete_by_metavar(self.metavar, incomplete)


def source_text(source: str) -> str:
    """Return what `-` stands for, the text on stdin, else the source itself. Bytes that are no text come as U+FFFD."""
    from weightswarm.magnet import MAX_TEXT

    if source != "-":
        return source
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")
    if not (text := sys.stdin.read(MAX_TEXT)).strip():
        raise InvalidInput("There is nothing on stdin", hint="`-` reads a magnet link, or a text with one, from there")
    return text


def option(*declarations: str, **attributes: Any) -> Callable[[F], F]:
    """As `click.option`, reading the environment too."""
    return click.option(*declarations, cls=EnvOption, **attributes)


class Size(click.ParamType[int]):
    """Bytes, with an optional unit of 1024: `500k`, `2M`, `1.5G`."""

    name = "SIZE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        match = _SIZE.fullmatch(str(value).strip())
        if match is None:
            self.fail(f"{value!r} is no size; write it like 500k, 2M or 1.5G", param, ctx)
        size = int(float(match[1]) * _UNITS[match[2].lower()])
        if size >= 2**31:
            self.fail(f"{value!r} is over 2 GiB", param, ctx)
        return size


class Rate(click.ParamType[int]):
    """Bytes a second, 0 for no limit: `500k`, `2MB/s`, `100Mbit`, `unlimited`."""

    name = "RATE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        from weightswarm.scheduling import parse_rate

        return value if isinstance(value, int) else _parsed(parse_rate, value, self, param, ctx)


class WindowType(click.ParamType["Window"]):
    """A window of a schedule. In the environment several are separated by semicolons."""

    name = "WINDOW"
    envvar_list_splitter: ClassVar[str] = ";"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Window:
        from weightswarm.scheduling import Window, parse_window

        return value if isinstance(value, Window) else _parsed(parse_window, value, self, param, ctx)


class ProxyType(click.ParamType["Proxy"]):
    """A proxy's URL."""

    name = "URL"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Proxy:
        from weightswarm.dialling import Proxy

        return value if isinstance(value, Proxy) else _parsed(Proxy.parse, value, self, param, ctx)


class InterfaceType(click.ParamType["Interface"]):
    """An interface of this machine, by its name or by an address that it has."""

    name = "NAME|ADDRESS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Interface:
        from weightswarm.dialling import Interface

        return value if isinstance(value, Interface) else _parsed(Interface.find, value, self, param, ctx)


def _parsed(
    parse: Callable[[str], T], value: Any, kind: click.ParamType[T], param: click.Parameter | None,
    ctx: click.Context | None,
) -> T:  # fmt: skip
    try:
        return parse(str(value))
    except InvalidInput as error:
        kind.fail(f"{error}; {error.hint}" if error.hint else str(error), param, ctx)


class Address(click.ParamType["PeerAddress"]):
    """`HOST:PORT`, `[v6]:PORT`."""

    name = "HOST:PORT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> PeerAddress:
        from weightswarm.magnet import PeerAddress

        if isinstance(value, PeerAddress):
            return value
        try:
            return PeerAddress.parse(str(value))
        except InvalidInput as error:
            self.fail(str(error), param, ctx)


class ListenAddress(Address):
    """As `Address`; port 0 takes a free one."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> PeerAddress:
        from weightswarm.magnet import PeerAddress

        text = str(value)
        if text.endswith(":0"):
            return PeerAddress(super().convert(f"{text}1", param, ctx).host, 0)
        return super().convert(value, param, ctx)


def confirmed(question: str) -> bool:
    """Ask on the terminal. Where nobody is there to answer, the answer is no."""
    if sys.stdin.isatty():
        return click.confirm(question, err=True)
    try:
        return click.confirm(question, err=True)
    except click.Abort:
        return False
    finally:
        # No key ended the line of the question.
        click.echo(err=True)


def cache_options(command: F) -> F:
    """`--cache-dir`."""
    return option("--cache-dir", metavar="DIR", help="The model cache (default: where huggingface_hub keeps it).")(
        command
    )


def registry_options(command: F) -> F:
    """`--registry`."""
    return option(
        "--registry", "registries", multiple=True, metavar="DIR|URL",
        help="A registry to look names up in, before those of the settings and the one that ships with weightswarm.",
    )(command)  # fmt: skip


def output_options(command: F) -> F:
    """`-q` and `--json`."""
    command = option("-q", "--quiet", is_flag=True, help="Print the result alone.")(command)
    return option("--json", "as_json", is_flag=True, help="Print the result as JSON.")(command)


def reach_option(command: F) -> F:
    """`--network`, passed on as `network_choice`."""
    return option(
        "--network", "network_choice", default="public", show_default=True,
        type=click.Choice(["public", "lan", "loopback"]),
        help="How far to reach: everywhere; this network, without public DHT and port mapping; this machine.",
    )(command)  # fmt: skip


def route_options(command: F) -> F:
    """`--proxy` and `--interface`."""
    command = option(
        "--interface", type=InterfaceType(), metavar="NAME|ADDRESS", help="The interface by which all traffic goes.",
    )(command)  # fmt: skip
    return option(
        "--proxy", type=ProxyType(), metavar="URL",
        help="What everything goes through: socks5://[USER:PASSWORD@]HOST:PORT or http://HOST:PORT.",
    )(command)  # fmt: skip


def lane_option(command: F) -> F:
    """`--no-lane`, for commands that make a `NetworkOptions` and give or take payload by it."""
    return option(
        "--no-lane", is_flag=True,
        help="Neither give to a lone neighbour nor take from one by HTTP: by BitTorrent alone.",
    )(command)  # fmt: skip


def network_options(command: F) -> F:
    """Everything that makes a `NetworkOptions`, passed on as `network_choice`, `listen`, `peers`, …"""
    for decorate in (
        option("--dht-node", "dht_nodes", type=Address(), multiple=True,
               help="Join the DHT through this node, at any network level."),
        option("--peer", "peers", type=Address(), multiple=True,
               help="A peer to connect to."),
        option("--listen", type=ListenAddress(), help="Where to accept peers (default: a free port)."),
        option("--max-connections", type=click.IntRange(2, 10_000), metavar="N",
               help="Most connections to peers and web seeds (default: 500, through a proxy 200)."),
        option("--limit-schedule", "schedule", type=WindowType(), multiple=True, metavar="WINDOW",
               help="Other limits at times of the day: '08:00-18:00 2M', 'mon-fri 22:00-06:00 down 5M up 1M'."),
        option("--download-limit", type=Rate(), default=0, metavar="RATE",
               help="Most that comes in a second, from all together: 500k, 2M or 100Mbit."),
        option("--upload-limit", type=Rate(), default=0, metavar="RATE",
               help="Most that goes out a second, to all together: 500k, 2M or 100Mbit."),
        route_options,
        reach_option,
    ):  # fmt: skip
        command = decorate(command)
    return command


def network_from(options: dict[str, Any]) -> NetworkOptions:
    """Return the network options, taking them out of a command's arguments."""
    from weightswarm.scheduling import Schedule
    from weightswarm.swarm import Network, NetworkOptions, leave_sessions_to_the_process

    leave_sessions_to_the_process()
    return NetworkOptions(
        network=Network(options.pop("network_choice")),
        listen=options.pop("listen"),
        schedule=Schedule(tuple(options.pop("schedule"))),
        max_connections=options.pop("max_connections"),
        proxy=options.pop("proxy"),
        interface=options.pop("interface"),
        upload_limit=options.pop("upload_limit"),
        download_limit=options.pop("download_limit"),
        dht_nodes=options.pop("dht_nodes"),
        peers=options.pop("peers"),
        lane=not options.pop("no_lane", False),
    )


def positive(name: str) -> Callable[[click.Context, click.Parameter, float | None], float | None]:
    """Return a callback that refuses numbers that are not above zero."""

    def check(_ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:
        if value is not None and not 0 < value < 1e9:
            raise click.BadParameter(f"{name} must be above 0", param=param)
        return value

    return check


def urls(option_name: str, given: tuple[str, ...], schemes: tuple[str, ...]) -> tuple[str, ...]:
    """Return the URLs of an option, each once; one that is none, or of another scheme, is a usage error."""
    for url in given:
        scheme, separator, rest = url.partition("://")
        if scheme.lower() not in schemes or not separator or not rest or not url.isprintable() or " " in url:
            raise click.UsageError(f"{option_name} {url!r} is no URL of {', '.join(schemes[:-1])} or {schemes[-1]}")
    return tuple(dict.fromkeys(given))


def check_published(web_seeds: tuple[str, ...]) -> None:
    """Raise `InvalidInput` for a web seed with a password, which a torrent or link would tell everybody."""
    for url in web_seeds:
        if without_passwords(url) != url:
            raise InvalidInput(
                f"--web-seed {url} has a user or password, and whoever has the link would",
                hint="publish it without; who may know it names the whole URL: weightswarm fetch … -w URL",
            )


def web_seed_urls(given: tuple[str, ...]) -> tuple[str, ...]:
    """As `urls` of `--web-seed`; the word `hub` is one too."""
    known = set(urls("--web-seed", tuple(url for url in given if url != HUB), WEB_SEED_SCHEMES))
    return tuple(dict.fromkeys(url for url in given if url == HUB or url in known))
