"""Options as docker's command line takes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.cli import usage
from shoal.cli.flags import FlagFault, Options, declare, parse

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
