"""Go templates: what `--format` accepts, and what it says when it does not."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.kit.gotemplate import Template, TemplateError, render
from shoal.model.swarm_spec import PortConfig

VALUE = {
    "ID": "abc",
    "State": {"Running": True, "Pid": 7},
    "Names": ["a", "b"],
    "N": 1.5,
    "Zero": 0,
    "Labels": {"y": "2", "x": "1"},
    "None": None,
    "Label": lambda key: f"<{key}>",
}

TABLE = [
    ("plain", "plain"),
    ("{{.ID}}-{{.State.Running}}-{{.N}}", "abc-true-1.5"),
    ("{{.State}} {{.Names}} {{.None}}", "map[Pid:7 Running:true] [a b] <no value>"),
    ("{{json .State}}", '{"Running":true,"Pid":7}'),
    ("{{index .Names 1}} {{index .Labels `x`}}", "b 1"),
    ("{{range $i, $n := .Names}}{{if $i}},{{end}}{{$i}}{{$n}}{{end}}", "0a,1b"),
    ("{{range $k, $v := .Labels}}{{$k}}{{$v}} {{else}}none{{end}}", "x1 y2 "),
    ("{{range .None}}x{{else}}none{{end}}", "none"),
    ("{{range .Names}}{{if eq . `a`}}{{continue}}{{end}}{{.}}{{$.ID}}{{end}}", "babc"),
    ("{{with .State}}{{.Pid}}{{end}}{{with .Zero}}x{{else}}zero{{end}}", "7zero"),
    ("{{if and .ID (eq .N 1.5)}}yes{{else}}no{{end}}", "yes"),
    ("{{if .Zero}}a{{else if .ID}}b{{else}}c{{end}}", "b"),
    ("{{if or .Zero .None}}a{{else}}b{{end}}{{not .Zero}}", "btrue"),
    ('{{.Names | len | printf "%03d"}}', "002"),
    ('{{join .Names "," | upper}} {{title "some words"}} {{lower "ABC"}}', "A,B Some Words abc"),
    ('{{printf "%-5s|%5.2f|%q|%v" .ID .N .ID .Names}}', 'abc  | 1.50|"abc"|[a b]'),
    ('{{split "a:b" ":" | json}}{{truncate .ID 2}}{{pad .ID 1 1}}{{println "x" 1}}', '["a","b"]ab abc x 1\n'),
    ("a {{- /* gone */ -}} b", "ab"),
    ("a {{- .ID -}} b", "aabcb"),
    ("{{$x := 1}}{{range .Names}}{{$x = .}}{{end}}{{$x}}", "b"),
    ('{{.Label "k"}}{{"z" | .Label}}', "<k><z>"),
    ("{{(index .Names 0) | printf `%s!`}}{{slice .ID 1}}", "a!bc"),
    ("{{gt 2 1}} {{le .Zero 0}} {{ne .ID `x`}} {{eq .ID `x` `abc`}}", "true true true true"),
]

FAULTS = [
    ("{{.Foo}}", 'template: :1:2: executing "" at <.Foo>: map has no entry for key "Foo"'),
    ("x\n{{.State.Foo}}", 'template: :2:8: executing "" at <.State.Foo>: map has no entry for key "Foo"'),
    ("{{.Foo", "template: :1: unclosed action"),
    ("{{foo .ID}}", 'template: :1: function "foo" not defined'),
    ("{{if .ID}}", "template: :1: unexpected EOF"),
    ("{{end}}", "template: :1: unexpected {{end}}"),
    ("{{}}", "template: :1: missing value for command"),
    ("{{if}}{{end}}", "template: :1: missing value for if"),
    ("{{.ID}", 'template: :1: unexpected "}" in operand'),
    (
        "{{index .Names 5}}",
        'template: :1:2: executing "" at <index .Names 5>: error calling index: index out of range: 5',
    ),
    ("{{.ID.Foo}}", 'template: :1:5: executing "" at <.ID.Foo>: can\'t evaluate field Foo in type string'),
]


@pytest.mark.parametrize(("template", "expected"), TABLE)
def test_cli_template_renders(template: str, expected: str) -> None:
    """A template prints what Go's text/template prints for the same value."""
    assert render(template, VALUE) == expected


@pytest.mark.parametrize(("template", "message"), FAULTS)
def test_cli_template_faults(template: str, message: str) -> None:
    """A wrong template is refused in Go's words, with its place."""
    with pytest.raises(TemplateError) as caught:
        render(template, VALUE)
    assert str(caught.value) == message


def test_cli_template_of_struct() -> None:
    """Fields of a struct are found by the names that its JSON has."""
    port = PortConfig(target_port=80, published_port=8080)
    assert render("{{.PublishedPort}}->{{.TargetPort}}/{{.Protocol}}", port) == "8080->80/tcp"
    with pytest.raises(TemplateError, match="can't evaluate field Port in type PortConfig"):
        render("{{.Port}}", port)


def test_cli_template_missing_key_allowed() -> None:
    """With `missing="zero"` an absent key prints `<no value>` and is false."""
    assert render("{{.Foo}}{{if .Foo}}x{{end}}", {}, missing="zero") == "<no value>"


def test_cli_template_unknown_column() -> None:
    """An unknown column of a listing names the type that lacks it."""
    with pytest.raises(TemplateError, match=r"can't evaluate field Foo in type \*formatter.ContainerContext"):
        render("{{.Foo}}", {}, kind="*formatter.ContainerContext")


@given(st.text(alphabet=st.characters(exclude_characters="{}", codec="utf-8")))
def test_cli_template_literal_text(text: str) -> None:
    """Text without actions is printed unchanged."""
    assert render(text, {}) == text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON)
def test_cli_template_json_round_trip(value: object) -> None:
    """`{{json .}}` is JSON of the value."""
    assert json.loads(Template("{{json .}}").render(value)) == value
