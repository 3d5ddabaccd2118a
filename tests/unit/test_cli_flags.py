"""Options as docker's command line takes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.cli import usage
from shoal.cli.container_flags import CREATE, RUN
from shoal.cli.container_spec import body
from shoal.cli.flags import FlagFault, Options, declare, parse
from shoal.cli.main import load, main

FLAGS = declare("""
  -d, --detach             Exit immediately
  -e, --env list           Set environment variables
  -f, --filter filter      Filter output
      --limit-cpu decimal  Limit CPUs
  -m, --memory bytes       Memory limit
      --mount mount        Attach a filesystem mount
  -p, --publish port       Publish a port
      --replicas uint      Number of tasks
      --subnet strings     Subnets
      --timeout duration   How long (default 5s)
  -t, --tty                Allocate a pseudo-TTY
      --sig-proxy          Proxy signals (default true)
""")


def given_options(*arguments: str, interspersed: bool = True) -> Options:
    return parse(FLAGS, list(arguments), interspersed=interspersed)


def test_cli_flags_forms() -> None:
    """Short switches stand together, values may be glued on, and switches take `=false`."""
    options = given_options(
        "-dt", "-eA=1", "-e", "B=2", "-p80:80", "--replicas=3", "x", "--sig-proxy=false", "-m", "1g"
    )
    assert options.flag("detach")
    assert options.flag("tty")
    assert not options.flag("sig-proxy")
    assert options.many("env") == ["A=1", "B=2"]
    assert options.number("replicas") == 3
    assert options.size("memory") == 1 << 30
    assert options.args == ["x"]


def test_cli_flags_short_switch_with_value() -> None:
    """`-d=false` switches off, as `stack deploy -d=false` needs."""
    assert not given_options("-d=false").flag("detach")


def test_cli_flags_defaults() -> None:
    """What was not given has the default that the help shows, and does not count as given."""
    options = given_options()
    assert options.flag("sig-proxy")
    assert options.duration("timeout") == 5 * 10**9
    assert not options.changed("timeout")


def test_cli_flags_strings_split_at_commas() -> None:
    """A `strings` option takes several values at once, a `list` does not."""
    options = given_options("--subnet", "a,b", "--subnet", "c", "-e", "A=1,2")
    assert options.many("subnet") == ["a", "b", "c"]
    assert options.many("env") == ["A=1,2"]


def test_cli_flags_end_with_the_first_argument() -> None:
    """Of `run`, options after the image belong to the container's command."""
    options = given_options("-d", "image", "-t", "--", "x", interspersed=False)
    assert options.args == ["image", "-t", "--", "x"]
    assert not options.flag("tty")


def test_cli_flags_after_double_dash() -> None:
    """After `--` everything is an argument."""
    assert given_options("--", "-d", "--nope").args == ["-d", "--nope"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--nope"], "unknown flag: --nope"),
        (["-z"], "unknown shorthand flag: 'z' in -z"),
        (["-dz"], "unknown shorthand flag: 'z' in -dz"),
        (["-p"], "flag needs an argument: 'p' in -p"),
        (["--replicas"], "flag needs an argument: --replicas"),
        (
            ["--replicas", "x"],
            'invalid argument "x" for "--replicas" flag: strconv.ParseUint: parsing "x": invalid syntax',
        ),
        (
            ["-d=maybe"],
            'invalid argument "maybe" for "-d, --detach" flag: strconv.ParseBool: parsing "maybe": invalid syntax',
        ),
        (["-m", "1x"], 'invalid argument "1x" for "-m, --memory" flag: invalid suffix: \'x\''),
        (["-f", "x"], 'invalid argument "x" for "-f, --filter" flag: bad format of filter (expected name=value)'),
        (["--limit-cpu", "a"], 'invalid argument "a" for "--limit-cpu" flag: failed to parse a as a rational number'),
        (["--timeout", "1"], 'invalid argument "1" for "--timeout" flag: time: invalid duration "1"'),
        (["-p", "abc"], 'invalid argument "abc" for "-p, --publish" flag: invalid containerPort: abc'),
        (
            ["--mount", "foo"],
            'invalid argument "foo" for "--mount" flag: invalid field \'foo\' must be a key=value pair',
        ),
    ],
)
def test_cli_flags_faults(arguments: list[str], message: str) -> None:
    """Wrong options are refused in docker's words."""
    with pytest.raises(FlagFault) as caught:
        given_options(*arguments)
    assert str(caught.value) == message


def test_cli_flags_other_names() -> None:
    """`--net` and its kin are the options with the long names; the order in which all were given stays."""
    flags = declare(CREATE)
    words = ["--net=a", "--network", "b", "--net-alias", "x", "--network-alias", "y", "--dns-opt", "o", "img"]
    options = parse(flags, words, interspersed=False)
    assert options.given() == ["network", "network-alias", "dns-option"]
    assert options.many("network") == ["a", "b"]
    assert options.many("network-alias") == ["x", "y"]
    assert options.many("dns-option") == ["o"]
    with pytest.raises(FlagFault, match='invalid argument "driver=x,y" for "--net" flag: invalid field key driver'):
        parse(flags, ["--net", "driver=x,y"])


def test_cli_flags_hidden_of_run() -> None:
    """What means nothing any more is accepted; an isolation is for the engine to judge."""
    words = ["--kernel-memory=1m", "--disable-content-trust", "--isolation", "hyperv", "img"]
    host = body(parse(declare(RUN), words, interspersed=False), {}, attached=True)["HostConfig"]
    assert host["Isolation"] == "hyperv"
    assert "KernelMemory" not in host
    with pytest.raises(FlagFault, match='invalid argument "xx" for "--kernel-memory" flag'):
        parse(declare(RUN), ["--kernel-memory=xx"])


@pytest.mark.parametrize(("path", "count"), [("run", 6), ("create", 6), ("stop", 1), ("restart", 1), ("ps", 0)])
def test_cli_flags_hidden_from_help(path: str, count: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Help does not show what docker only takes for old times' sake."""
    hidden = [flag.name for flag in declare(load(path).flags) if flag.hidden]
    assert len(hidden) == count
    assert main([path, "--help"], program="docker") == 0
    shown = capsys.readouterr().out.split()
    assert not set(shown) & {f"--{name}" for name in hidden}


def test_cli_flags_deprecated(capsys: pytest.CaptureFixture[str]) -> None:
    """Docker says on standard output, once for each use, that `--time` is out of use, unless the options are wrong."""
    notice = "Flag --time has been deprecated, use --timeout instead\n"
    assert main(["stop", "--time", "1", "--time=2", "--help"], program="docker") == 0
    assert capsys.readouterr().out.startswith(f"{notice}{notice}Usage:")
    assert main(["stop", "--time", "1", "--nope", "x"], program="docker") == 125
    assert not capsys.readouterr().out
    assert main(["restart", "--time", "1", "-t", "2", "x"], program="docker") == 1
    said = capsys.readouterr()
    assert said.out == notice
    assert said.err == "conflicting options: cannot specify both --timeout and --time\n"


@given(st.lists(st.text(alphabet="abc=,- ", min_size=1)))
def test_cli_flags_values_survive(values: list[str]) -> None:
    """Any value comes through unchanged, however it is glued on."""
    arguments = [part for number, value in enumerate(values) for part in
                 (["--env", value] if number % 2 else [f"--env={value}"])]  # fmt: skip
    assert parse(FLAGS, arguments).many("env") == values


@given(st.text(alphabet="ab c\n", max_size=200), st.integers(30, 120))
def test_cli_help_wrapping_keeps_words(text: str, columns: int) -> None:
    """Wrapping breaks lines and nothing else."""
    assert usage.wrapped(text, 10, columns).split() == text.split()
