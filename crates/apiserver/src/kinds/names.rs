//! What names, labels, keys and ports may look like, in the words of `apimachinery/pkg/util/validation`.

/// `must be no more than N bytes`.
fn too_long(max: usize) -> String {
    format!("must be no more than {max} bytes")
}

/// Says what is wrong with a text: nothing, when it is fine.
pub(super) type Rule = fn(&str) -> Vec<String>;

/// Every port that can be named in a packet.
pub(super) const PORT_RANGE: &str = "must be between 1 and 65535, inclusive";
/// What is wrong with an address that cannot be parsed.
pub(super) const NO_ADDRESS: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";

const DNS1123_LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and \
     must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
     '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const DNS1123_SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, \
     '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation \
     is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const WILDCARD_SUBDOMAIN: &str = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS \
     subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric \
     character (e.g. '*.example.com', regex used for validation is \
     '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const DNS1035_LABEL: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an \
     alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for \
     validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const QUALIFIED: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
     alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
     '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or \
     '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex \
     used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const CONFIG_KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name', \
     \u{20}or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
const ENV_NAME: &str =
    "a valid environment variable name must consist only of printable ASCII characters other than '='";

/// Letters, digits and `-`, no `-` at the ends, 1-63 bytes (RFC 1123).
pub fn is_dns1123_label(text: &str) -> bool {
    dns1123_label(text).is_empty()
}

/// Labels joined by dots, at most 253 bytes (RFC 1123).
pub fn is_dns1123_subdomain(text: &str) -> bool {
    dns1123_subdomain(text).is_empty()
}

/// As [`is_dns1123_label`], and the first character is a letter (RFC 1035).
pub fn is_dns1035_label(text: &str) -> bool {
    dns1035_label(text).is_empty()
}

fn check(length_ok: bool, max: usize, form_ok: bool, form: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if !length_ok {
        wrong.push(too_long(max));
    }
    if !form_ok {
        wrong.push(form.to_owned());
    }
    wrong
}

fn label_form(text: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    let ends =
        [bytes.first(), bytes.last()].into_iter().all(|byte| byte.is_some_and(|byte| alphanumeric(*byte)));
    ends && bytes.iter().all(|byte| alphanumeric(*byte) || *byte == b'-')
}

/// What is wrong with an RFC 1123 label.
pub(super) fn dns1123_label(text: &str) -> Vec<String> {
    check(text.len() <= 63, 63, label_form(text), DNS1123_LABEL)
}

/// What is wrong with an RFC 1123 subdomain.
pub(super) fn dns1123_subdomain(text: &str) -> Vec<String> {
    check(text.len() <= 253, 253, text.split('.').all(label_form), DNS1123_SUBDOMAIN)
}

/// What is wrong with a subdomain whose first label is `*`.
pub(super) fn wildcard_subdomain(text: &str) -> Vec<String> {
    let form = text.strip_prefix("*.").is_some_and(|rest| rest.split('.').all(label_form));
    check(text.len() <= 253, 253, form, WILDCARD_SUBDOMAIN)
}

/// What is wrong with an RFC 1035 label.
pub(super) fn dns1035_label(text: &str) -> Vec<String> {
    let form = label_form(text) && text.starts_with(|c: char| c.is_ascii_lowercase());
    check(text.len() <= 63, 63, form, DNS1035_LABEL)
}

fn qualified_form(text: &str) -> bool {
    let bytes = text.as_bytes();
    let ends =
        [bytes.first(), bytes.last()].into_iter().all(|byte| byte.is_some_and(u8::is_ascii_alphanumeric));
    ends && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

/// What is wrong with a key of labels, annotations and finalizers (`example.com/name`).
pub(crate) fn qualified_name(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let parts: Vec<&str> = text.split('/').collect();
    let name = match parts.as_slice() {
        [name] => name,
        [prefix, name] => {
            if prefix.is_empty() {
                wrong.push("prefix part must be non-empty".to_owned());
            } else {
                wrong.extend(dns1123_subdomain(prefix).into_iter().map(|text| format!("prefix part {text}")));
            }
            name
        }
        _ => {
            let form = format!("a qualified name {QUALIFIED}");
            return vec![format!(
                "{form} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
    };
    if name.is_empty() {
        wrong.push("name part must be non-empty".to_owned());
    } else if name.len() > 63 {
        wrong.push(format!("name part {}", too_long(63)));
    }
    if !qualified_form(name) {
        wrong.push(format!("name part {QUALIFIED}"));
    }
    wrong
}

/// What is wrong with a label's value.
pub(crate) fn label_value(text: &str) -> Vec<String> {
    check(text.len() <= 63, 63, text.is_empty() || qualified_form(text), LABEL_VALUE)
}

/// What is wrong with a container port's name (an IANA service name).
pub(super) fn port_name(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if text.len() > 15 {
        wrong.push(too_long(15));
    }
    if !text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-') {
        wrong.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !text.bytes().any(|byte| byte.is_ascii_lowercase()) {
        wrong.push("must contain at least one letter (a-z)".to_owned());
    }
    if text.contains("--") {
        wrong.push("must not contain consecutive hyphens".to_owned());
    }
    if text.starts_with('-') || text.ends_with('-') {
        wrong.push("must not begin or end with a hyphen".to_owned());
    }
    wrong
}

/// What is wrong with a key of a ConfigMap or Secret.
pub(super) fn config_key(text: &str) -> Vec<String> {
    let form = !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    let mut wrong = check(text.len() <= 253, 253, form, CONFIG_KEY);
    match text {
        "." => wrong.push("must not be '.'".to_owned()),
        ".." => wrong.push("must not be '..'".to_owned()),
        _ if text.starts_with("..") => wrong.push("must not start with '..'".to_owned()),
        _ => {}
    }
    wrong
}

/// What is wrong with an environment variable's name.
pub(super) fn env_name(text: &str) -> Vec<String> {
    let form = !text.is_empty() && text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'=');
    check(true, 0, form, ENV_NAME)
}

/// A name generator's prefix may end in a dash: something follows it.
fn without_trailing_dash(text: &str, prefix: bool) -> String {
    match text.strip_suffix('-') {
        Some(rest) if prefix && !rest.is_empty() => format!("{rest}a"),
        _ => text.to_owned(),
    }
}

/// The rule of most kinds' names.
pub(super) fn subdomain_name(text: &str, prefix: bool) -> Vec<String> {
    dns1123_subdomain(&without_trailing_dash(text, prefix))
}

/// The rule of namespaces' names.
pub(super) fn label_name(text: &str, prefix: bool) -> Vec<String> {
    dns1123_label(&without_trailing_dash(text, prefix))
}

/// The rule of services' names.
pub(super) fn service_name(text: &str, prefix: bool) -> Vec<String> {
    dns1035_label(&without_trailing_dash(text, prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert!(
            is_dns1123_label("a-1")
                && is_dns1123_label("1")
                && !is_dns1123_label("-a")
                && !is_dns1123_label("A")
        );
        assert!(!is_dns1123_label("") && !is_dns1123_label(&"a".repeat(64)) && !is_dns1123_label("a.b"));
        assert!(is_dns1123_subdomain("a.b") && !is_dns1123_subdomain("a..b") && !is_dns1123_subdomain("a."));
        assert!(is_dns1035_label("a1") && !is_dns1035_label("1a"));
        assert!(subdomain_name("web-", true).is_empty() && !subdomain_name("web-", false).is_empty());
    }

    #[test]
    fn keys_and_values() {
        assert!(qualified_name("app.kubernetes.io/name").is_empty() && qualified_name("App_1").is_empty());
        assert_eq!(qualified_name("/a"), ["prefix part must be non-empty"]);
        assert!(qualified_name("a/b/c")[0].starts_with("a qualified name must consist of alphanumeric"));
        assert!(label_value("").is_empty() && label_value("a b").len() == 1);
        assert_eq!(label_value(&"a".repeat(64)), ["must be no more than 63 bytes"]);
        assert_eq!(port_name("123"), ["must contain at least one letter (a-z)"]);
        assert_eq!(port_name("http--2"), ["must not contain consecutive hyphens"]);
        assert!(config_key(".x").is_empty() && config_key("..x") == ["must not start with '..'"]);
        assert!(env_name("my.var-1").is_empty() && !env_name("a=b").is_empty());
        assert!(CONFIG_KEY.contains("'key.name',  or 'KEY_NAME'"));
    }
}
