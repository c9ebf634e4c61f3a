use super::*;
use serde_json::json;

fn shape() -> Value {
    json!({
        "asn": 1,
        "bfd": {"enabled": true},
        "neighbors": [{"node": "", "peer": ""}],
        "pools": ["10.0.0.0/8"],
        "vars": {"site": "a", "deep": {"er": 1}, "list": [{"x": 1}]},
    })
}

fn checked(text: &str) -> Result<(), String> {
    check([("t.tera", text)], &shape()).map_err(|mistake| mistake.to_string())
}

#[test]
fn lawful_templates_pass() {
    for text in [
        "plain { text } %} }}",
        "{{ asn }} {{- asn -}} {{ asn + 1 }} {{ asn|string|upper }}",
        "{% if bfd.enabled and not vars.deep.er == 2 or asn in [1, 2] %}x{% elif asn > 1 %}y{% else %}z{% endif %}",
        "{% for n in neighbors %}{{ n.peer }} {{ loop.index }} {% if not loop.last %},{% endif %}{% endfor %}",
        "{% for p in pools %}{{ p }}{% else %}none{% endfor %}{% for k, v in vars %}{{ k }}{{ v.anything }}{% endfor %}",
        "{% set x = vars.deep %}{{ x.er }}{% set_global y = 1 %}{{ y }}",
        "{% set s %}text{% endset %}{{ s }}",
        "{% if vars.maybe is defined %}{{ vars.site }}{% endif %}{{ vars.maybe | default(value=\"{{ asm }}\") }}{{ vars?.maybe }}",
        "{% if vars.maybe is not defined %}{% endif %}{% if asn is odd %}{% endif %}",
        "{# {{ asm }} #}{% raw %}{{ asm }}{% endraw %}",
        "{{ vars[\"site\"] }} {{ neighbors[0].peer }} {{ neighbors.0.peer }} {{ vars.list[asn].whatever }}",
        "{% for i in range(start=0, end=asn) %}{{ i }}{% endfor %}",
        "{{ [n.peer for n in neighbors] }} {{ \"a\" if bfd.enabled else 'b' }} {{ {a: asn, \"b\": 2}.a }}",
        "{{ vars.site ~ \"}}\" ~ `x` }} {% include \"other.tera\" %}",
        "{% component Line(text: String) %}{{ text }}{% endcomponent Line %}{{ <Line text=\"x\" /> }}",
    ] {
        assert_eq!(checked(text), Ok(()), "{text}");
    }
}

#[test]
fn a_missing_name_is_found_wherever_it_stands() {
    for (text, said) in [
        ("{{ asm }}", "t.tera:1:4: `asm` is not defined (did you mean `asn`?)"),
        ("a\n{% if asm %}{% endif %}", "t.tera:2:7: `asm` is not defined (did you mean `asn`?)"),
        (
            "{% if not vars.typo %}shutdown{% endif %}",
            "t.tera:1:11: `vars.typo` is not defined (expected one of site, deep, list)",
        ),
        (
            "{% if asn == 1 %}{% elif bfd.enbaled %}{% endif %}",
            "t.tera:1:26: `bfd.enbaled` is not defined (did you mean `enabled`?)",
        ),
        (
            "{% for n in neighbors %}{% if n.pear %}{% endif %}{% endfor %}",
            "t.tera:1:31: `n.pear` is not defined (did you mean `peer`?)",
        ),
        (
            "{% for n in neighbours %}{% endfor %}",
            "t.tera:1:13: `neighbours` is not defined (did you mean `neighbors`?)",
        ),
        ("{% for n in neighbors %}{% endfor %}{{ n.peer }}", "t.tera:1:40: `n` is not defined"),
        ("{% set x = vars.deep %}{{ x.err }}", "t.tera:1:27: `x.err` is not defined (did you mean `er`?)"),
        (
            "{{ vars.deep.er.more }}",
            "t.tera:1:4: `vars.deep.er` has no fields (expected `vars.deep.er` alone, not `vars.deep.er.more`)",
        ),
        (
            "{{ vars[\"sight\"] }}",
            "t.tera:1:4: `vars.sight` is not defined (expected one of site, deep, list)",
        ),
        (
            "{{ asn if vars.typo else 0 }}",
            "t.tera:1:11: `vars.typo` is not defined (expected one of site, deep, list)",
        ),
        ("{{ 1 + vars.list[asm].x }}", "t.tera:1:18: `asm` is not defined (did you mean `asn`?)"),
        ("{% raw %}{{ x }}{% endraw %}{{ asm }}", "t.tera:1:32: `asm` is not defined (did you mean `asn`?)"),
    ] {
        let found = checked(text).unwrap_err();
        assert!(found.starts_with(said), "{text}\n found: {found}\n  said: {said}");
    }
}

#[test]
fn an_included_template_sees_what_the_including_one_sets() {
    let templates = [("a.tera", "{% set z = 1 %}{% include \"b.tera\" %}"), ("b.tera", "{{ z }}")];
    assert_eq!(check(templates, &shape()), Ok(()));
}

proptest::proptest! {
    /// Templates are untrusted: whatever they are, reading them ends and does not panic.
    #[test]
    fn any_text_can_be_read(text in "(\\{\\{|\\{%|%\\}|\\}\\}|\\{#|[\"'`.?|()\\[\\]{},= -]|if|for|in|set|raw|is|not|asn|ä|\n){0,60}") {
        drop(checked(&text));
    }
}
