use super::*;
use crate::store::Labels;

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn label_grammar() {
    let web = labels(&[("app", "web"), ("tier", "front"), ("n", "5"), ("empty", "")]);
    for (text, expected) in [
        ("", true),
        ("app", true),
        ("!app", false),
        ("!other", true),
        ("app=web", true),
        ("app==web", true),
        ("app = web , tier", true),
        ("app!=web", false),
        ("other!=web", true),
        ("app in (web, api)", true),
        ("app in (api)", false),
        ("app notin (api)", true),
        ("other notin (api)", true),
        ("n>4", true),
        ("n<5", false),
        ("empty=", true),
        ("app=", false),
        ("app=web,tier in (front,back),!gone", true),
        ("example.com/app=web", false),
    ] {
        assert_eq!(LabelSelector::parse(text).unwrap().matches(&web), expected, "{text}");
    }
}

#[test]
fn label_grammar_refuses() {
    for text in
        ["app=web=2", ",", "app in web", "app in (", "a b", "=x", "n>x", "app=we$b", "!", "/x", "app=-"]
    {
        LabelSelector::parse(text).expect_err(text);
    }
}

#[test]
fn labels_print_as_they_parse() {
    for text in ["app=web", "!a,b", "a in (x,y),b notin (x,y),c!=d", "n>4,m<3"] {
        let selector = LabelSelector::parse(text).unwrap();
        assert_eq!(selector.to_string(), text);
    }
}

#[test]
fn field_grammar() {
    let value_of = |field: &str| if field == "spec.nodeName" { "node1".to_owned() } else { String::new() };
    for (text, expected) in [
        ("", true),
        ("spec.nodeName=node1", true),
        ("spec.nodeName==node1", true),
        ("spec.nodeName!=node1", false),
        ("spec.nodeName!=,status.phase=", true),
        (r"spec.nodeName=a\,b", false),
    ] {
        assert_eq!(FieldSelector::parse(text).unwrap().matches(value_of), expected, "{text}");
    }
    for text in ["spec.nodeName", "a=b=c", r"a=b\x"] {
        FieldSelector::parse(text).expect_err(text);
    }
    assert_eq!(FieldSelector::parse("a!=b,metadata.name=web").unwrap().exact("metadata.name"), Some("web"));
}

proptest::proptest! {
    /// Selectors come from anybody: whatever the text, they are parsed or refused, and what parses prints as itself.
    #[test]
    fn any_text_is_parsed_or_refused(text in "[a-z=!,()<>\\\\ ]{0,24}|\\PC{0,24}") {
        if let Ok(selector) = LabelSelector::parse(&text) {
            let printed = selector.to_string();
            proptest::prop_assert_eq!(LabelSelector::parse(&printed).unwrap(), selector);
        }
        _ = FieldSelector::parse(&text);
    }
}
