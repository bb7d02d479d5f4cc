//! What every kind's printed row is made of (`pkg/printers/internalversion/printers.go`).

use std::borrow::Cow;

use jiff::Timestamp;
use serde_json::Value;

use super::field::{member, text};

/// One column of a Table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Heading.
    pub name: Cow<'static, str>,
    /// `string`, `integer`, `number`, `boolean` or `date`.
    pub kind: Cow<'static, str>,
    /// `name` for the column that holds the object's name, else mostly empty.
    pub format: Cow<'static, str>,
    /// What the column says; mostly empty.
    pub description: Cow<'static, str>,
    /// 0 is always shown, more only with `-o wide`.
    pub priority: i32,
}

impl Column {
    /// The object's name.
    pub(super) const NAME: Self = Self::of("Name", "string", "name");
    /// The time since the object was made.
    pub(super) const AGE: Self = Self::text("Age");

    /// A text that is always shown.
    pub(super) const fn text(name: &'static str) -> Self {
        Self::of(name, "string", "")
    }

    /// A number that is always shown.
    pub(super) const fn number(name: &'static str) -> Self {
        Self::of(name, "integer", "")
    }

    const fn of(name: &'static str, kind: &'static str, format: &'static str) -> Self {
        Self {
            name: Cow::Borrowed(name),
            kind: Cow::Borrowed(kind),
            format: Cow::Borrowed(format),
            description: Cow::Borrowed(""),
            priority: 0,
        }
    }

    /// The same column, shown with `-o wide` only.
    pub(super) const fn wide(mut self) -> Self {
        self.priority = 1;
        self
    }
}

/// A span of time as kubectl prints it: two units at most, fewer the longer it is (`duration.HumanDuration`).
pub fn human_duration(seconds: i64) -> String {
    let pair = |big: i64, unit: char, small: i64, sub: char| {
        if small == 0 { format!("{big}{unit}") } else { format!("{big}{unit}{small}{sub}") }
    };
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    match seconds {
        // Two seconds are forgiven to clocks that differ.
        ..=-2 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        _ if seconds < 120 => format!("{seconds}s"),
        _ if minutes < 10 => pair(minutes, 'm', seconds % 60, 's'),
        _ if minutes < 180 => format!("{minutes}m"),
        _ if hours < 8 => pair(hours, 'h', minutes % 60, 'm'),
        _ if hours < 48 => format!("{hours}h"),
        _ if hours < 24 * 8 => pair(hours / 24, 'd', hours % 24, 'h'),
        _ if hours < 24 * 365 * 2 => format!("{}d", hours / 24),
        _ if hours < 24 * 365 * 8 => pair(hours / 24 / 365, 'y', hours / 24 % 365, 'd'),
        _ => format!("{}y", hours / 24 / 365),
    }
}

/// The time since an RFC 3339 time, `<unknown>` when it is none.
pub(super) fn since(time: &str, now: Timestamp) -> String {
    match time.parse::<Timestamp>() {
        Ok(time) => human_duration(now.as_second() - time.as_second()),
        Err(_) => "<unknown>".to_owned(),
    }
}

/// The time since the object was made.
pub(super) fn age(object: &Value, now: Timestamp) -> Value {
    since(text(object, "/metadata/creationTimestamp"), now).into()
}

/// The object's name.
pub(super) fn name(object: &Value) -> Value {
    text(object, "/metadata/name").into()
}

/// The text, `<none>` for an empty one.
pub(super) fn or_none(text: impl Into<String>) -> Value {
    let text = text.into();
    if text.is_empty() { "<none>".into() } else { text.into() }
}

/// A map of labels as `a=1,b=2`, sorted; `<none>` when empty.
pub(super) fn label_map(map: Option<&Value>) -> Value {
    let mut pairs: Vec<String> = Vec::new();
    for (key, value) in map.and_then(Value::as_object).into_iter().flatten() {
        pairs.push(format!("{key}={}", value.as_str().unwrap_or_default()));
    }
    pairs.sort();
    or_none(pairs.join(","))
}

/// A meta/v1 LabelSelector as kubectl prints it: `a=1,b in (x,y),!c`.
pub(super) fn selector(selector: Option<&Value>) -> Value {
    let Some(selector) = selector else { return "<none>".into() };
    let mut parts: Vec<(String, String)> = Vec::new();
    for (key, value) in super::field::texts(selector, "/matchLabels") {
        parts.push((key.to_owned(), format!("{key}={value}")));
    }
    for expression in super::field::list(selector, "matchExpressions") {
        let key = member(expression, "key");
        let values: Vec<&str> =
            super::field::list(expression, "values").iter().filter_map(Value::as_str).collect();
        let text = match member(expression, "operator") {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        };
        parts.push((key.to_owned(), text));
    }
    parts.sort();
    or_none(parts.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(","))
}

/// Names and images of a pod template's containers, comma-separated.
pub(super) fn containers(object: &Value) -> (Value, Value) {
    let containers = super::field::items(object, "/spec/template/spec/containers");
    let joined =
        |key: &str| containers.iter().map(|container| member(container, key)).collect::<Vec<_>>().join(",");
    (joined("name").into(), joined("image").into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn durations_are_those_of_kubectl() {
        let cases = [
            (-5, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (599, "9m59s"),
            (600, "10m"),
            (10799, "179m"),
            (10800, "3h"),
            (11100, "3h5m"),
            (28800, "8h"),
            (172799, "47h"),
            (172800, "2d"),
            (176400, "2d1h"),
            (691200, "8d"),
            (63072000, "2y"),
            (63158400, "2y1d"),
            (252288000, "8y"),
        ];
        for (seconds, text) in cases {
            assert_eq!(human_duration(seconds), text, "{seconds} seconds");
        }
    }

    #[test]
    fn selectors_print_sorted_by_key() {
        let value = json!({"matchLabels": {"b": "1"}, "matchExpressions": [
            {"key": "a", "operator": "In", "values": ["x", "y"]}, {"key": "c", "operator": "DoesNotExist"}]});
        assert_eq!(selector(Some(&value)), "a in (x,y),b=1,!c");
        assert_eq!(selector(None), "<none>");
    }
}
