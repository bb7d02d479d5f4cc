//! The paths of printed columns: the JSONPath of `client-go/util/jsonpath`, as far as one expression goes.
//!
//! `.status.conditions[?(@.type=="Ready")].status`, `.spec['a.b']`, `.spec.list[0]`, `[-1]`, `[1:3]`, `[*]`, `..name`,
//! `\.` in a name. Templates around expressions (`range`, texts) are refused.

use serde_json::Value;

/// A path, read.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::kinds) struct JsonPath(Vec<Step>);

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Member(String),
    Index(i64),
    Slice(Option<i64>, Option<i64>, i64),
    Each,
    /// Every value below, this one included.
    Below,
    Where(Filter),
    OneOf(Vec<Step>),
}

#[derive(Debug, Clone, PartialEq)]
struct Filter {
    left: Operand,
    /// Without one the operand has to be there.
    test: Option<(Comparison, Operand)>,
}

#[derive(Debug, Clone, PartialEq)]
enum Operand {
    Path(JsonPath),
    Value(Value),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Most steps of a path, filters included: nobody needs more, and reading nests with them.
const LONGEST: usize = 64;
/// Most values that a path may lead to on its way.
const MOST_VALUES: usize = 10_000;

impl JsonPath {
    /// Reads a path.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(in crate::kinds) fn parse(text: &str) -> Result<Self, String> {
        let mut reader = Reader { rest: text, steps: 0 };
        let path = reader.path()?;
        if reader.rest.is_empty() {
            Ok(path)
        } else {
            Err(format!("unrecognized character in action: {}", reader.rest))
        }
    }

    /// The values that the path leads to.
    pub(in crate::kinds) fn find<'a>(&self, root: &'a Value) -> Vec<&'a Value> {
        let mut found = vec![root];
        for step in &self.0 {
            let mut next = Vec::new();
            for value in found {
                step.take(value, &mut next);
                if next.len() > MOST_VALUES {
                    break;
                }
            }
            found = next;
        }
        found
    }

    /// The path of plain members as a JSON pointer; `None` when there is more to it.
    pub(in crate::kinds) fn pointer(&self) -> Option<String> {
        let mut pointer = String::new();
        for step in &self.0 {
            let Step::Member(name) = step else { return None };
            pointer.push('/');
            pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
        }
        (!pointer.is_empty()).then_some(pointer)
    }
}

impl Step {
    fn take<'a>(&self, value: &'a Value, out: &mut Vec<&'a Value>) {
        match (self, value) {
            (Self::Member(name), Value::Object(map)) => out.extend(map.get(name)),
            (Self::Index(index), Value::Array(items)) => {
                let length = items.len() as i64;
                let index = if *index < 0 { index + length } else { *index };
                out.extend(usize::try_from(index).ok().and_then(|index| items.get(index)));
            }
            (Self::Slice(start, end, step), Value::Array(items)) => {
                let length = items.len() as i64;
                let place = |index: i64| (if index < 0 { index + length } else { index }).clamp(0, length);
                let (start, end) = (place(start.unwrap_or(0)), place(end.unwrap_or(length)));
                let mut index = start;
                while index < end {
                    out.extend(usize::try_from(index).ok().and_then(|index| items.get(index)));
                    index += step;
                }
            }
            (Self::Each, Value::Array(items)) => out.extend(items),
            (Self::Each, Value::Object(map)) => out.extend(map.values()),
            (Self::Below, _) => below(value, out),
            (Self::Where(filter), Value::Array(items)) => {
                out.extend(items.iter().filter(|item| filter.holds(item)));
            }
            (Self::OneOf(steps), _) => steps.iter().for_each(|step| step.take(value, out)),
            _ => {}
        }
    }
}

fn below<'a>(value: &'a Value, out: &mut Vec<&'a Value>) {
    if out.len() > MOST_VALUES {
        return;
    }
    out.push(value);
    match value {
        Value::Array(items) => items.iter().for_each(|item| below(item, out)),
        Value::Object(map) => map.values().for_each(|item| below(item, out)),
        _ => {}
    }
}

impl Filter {
    fn holds(&self, item: &Value) -> bool {
        let Some(left) = self.left.first(item) else { return false };
        let Some((comparison, right)) = &self.test else { return true };
        let Some(right) = right.first(item) else { return false };
        let order = match (&left, &right) {
            (Value::Number(left), Value::Number(right)) => {
                left.as_f64().unwrap_or_default().partial_cmp(&right.as_f64().unwrap_or_default())
            }
            (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
            _ => (left == right).then_some(std::cmp::Ordering::Equal),
        };
        match comparison {
            Comparison::Equal => order.is_some_and(std::cmp::Ordering::is_eq),
            Comparison::NotEqual => !order.is_some_and(std::cmp::Ordering::is_eq),
            Comparison::Less => order.is_some_and(std::cmp::Ordering::is_lt),
            Comparison::LessOrEqual => order.is_some_and(std::cmp::Ordering::is_le),
            Comparison::Greater => order.is_some_and(std::cmp::Ordering::is_gt),
            Comparison::GreaterOrEqual => order.is_some_and(std::cmp::Ordering::is_ge),
        }
    }
}

impl Operand {
    fn first(&self, item: &Value) -> Option<Value> {
        match self {
            Self::Path(path) => path.find(item).first().map(|value| (*value).clone()),
            Self::Value(value) => Some(value.clone()),
        }
    }
}

struct Reader<'a> {
    rest: &'a str,
    steps: usize,
}

impl<'a> Reader<'a> {
    fn eat(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn skip_spaces(&mut self) {
        self.rest = self.rest.trim_start();
    }

    /// Steps up to what is no step; a leading `$` or `@` is the root.
    fn path(&mut self) -> Result<JsonPath, String> {
        _ = self.eat("$") || self.eat("@");
        let mut steps = Vec::new();
        loop {
            self.steps += 1;
            if self.steps > LONGEST {
                return Err(format!("more than {LONGEST} steps"));
            }
            if self.eat("..") {
                steps.push(Step::Below);
                if !self.rest.starts_with('[') {
                    steps.push(self.name()?);
                }
            } else if self.eat(".") {
                if self.rest.is_empty() && steps.is_empty() {
                    return Ok(JsonPath(steps));
                }
                if !self.rest.starts_with('[') {
                    steps.push(self.name()?);
                }
            } else if self.eat("[") {
                steps.push(self.brackets()?);
            } else {
                return Ok(JsonPath(steps));
            }
        }
    }

    fn name(&mut self) -> Result<Step, String> {
        let mut name = String::new();
        let mut chars = self.rest.char_indices();
        let mut end = self.rest.len();
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => name.extend(chars.next().map(|(_, escaped)| escaped)),
                '.' | '[' | ']' | ')' | '(' | '=' | '!' | '<' | '>' | ' ' | '{' | '}' | ',' => {
                    end = at;
                    break;
                }
                other => name.push(other),
            }
        }
        self.rest = &self.rest[end..];
        match name.as_str() {
            "" => Err("a name is missing after '.'".to_owned()),
            "*" => Ok(Step::Each),
            _ => Ok(Step::Member(name)),
        }
    }

    /// Behind `[`, up to its `]`.
    fn brackets(&mut self) -> Result<Step, String> {
        if self.eat("?(") {
            let filter = self.filter()?;
            self.skip_spaces();
            return if self.eat(")]") {
                Ok(Step::Where(filter))
            } else {
                Err("unterminated filter".to_owned())
            };
        }
        let mut parts = Vec::new();
        loop {
            self.skip_spaces();
            parts.push(self.part()?);
            self.skip_spaces();
            if self.eat("]") {
                break;
            }
            if !self.eat(",") {
                return Err("unterminated array".to_owned());
            }
            if parts.len() > LONGEST {
                return Err(format!("more than {LONGEST} alternatives"));
            }
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Step::OneOf(parts) })
    }

    fn part(&mut self) -> Result<Step, String> {
        if self.eat("*") {
            return Ok(Step::Each);
        }
        if self.rest.starts_with(['\'', '"']) {
            return self.quoted().map(Step::Member);
        }
        let end = self.rest.find([',', ']']).ok_or("unterminated array")?;
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest;
        let number = |text: &str| match text.trim() {
            "" => Ok(None),
            text => text.parse::<i64>().map(Some).map_err(|_| format!("invalid array index {text}")),
        };
        let parts: Vec<&str> = text.split(':').collect();
        match parts.as_slice() {
            [index] => number(index)?.map(Step::Index).ok_or_else(|| "invalid array index".to_owned()),
            [start, end] => Ok(Step::Slice(number(start)?, number(end)?, 1)),
            [start, end, step] => match number(step)?.unwrap_or(1) {
                step if step > 0 => Ok(Step::Slice(number(start)?, number(end)?, step)),
                _ => Err("step must be > 0".to_owned()),
            },
            _ => Err(format!("invalid array index {text}")),
        }
    }

    fn quoted(&mut self) -> Result<String, String> {
        let mut chars = self.rest.char_indices();
        let Some((_, quote)) = chars.next() else { return Err("unterminated quoted string".to_owned()) };
        let mut text = String::new();
        while let Some((at, c)) = chars.next() {
            if c == quote {
                self.rest = &self.rest[at + c.len_utf8()..];
                return Ok(text);
            }
            if c == '\\' {
                text.extend(chars.next().map(|(_, escaped)| escaped));
            } else {
                text.push(c);
            }
        }
        Err("unterminated quoted string".to_owned())
    }

    fn filter(&mut self) -> Result<Filter, String> {
        let left = self.operand()?;
        self.skip_spaces();
        let comparisons = [
            ("==", Comparison::Equal),
            ("!=", Comparison::NotEqual),
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ];
        let found = comparisons.into_iter().find(|(text, _)| self.rest.starts_with(text));
        let Some((text, comparison)) = found else { return Ok(Filter { left, test: None }) };
        self.rest = &self.rest[text.len()..];
        Ok(Filter { left, test: Some((comparison, self.operand()?)) })
    }

    fn operand(&mut self) -> Result<Operand, String> {
        self.skip_spaces();
        if self.rest.starts_with(['\'', '"']) {
            return self.quoted().map(|text| Operand::Value(text.into()));
        }
        if self.rest.starts_with(['@', '$', '.']) {
            return self.path().map(Operand::Path);
        }
        let end = self.rest.find([')', ' ', '=', '!', '<', '>']).unwrap_or(self.rest.len());
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest;
        serde_json::from_str(text).map(Operand::Value).map_err(|_| format!("unrecognized operand {text:?}"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(path: &str, value: &Value) -> Vec<Value> {
        JsonPath::parse(path).unwrap().find(value).into_iter().cloned().collect()
    }

    #[test]
    fn paths_lead_where_kubectl_is_led() {
        let value = json!({"a.b": 1, "list": [{"type": "Ready", "status": "True"}, {"type": "Other", "n": 5}],
            "map": {"x": {"name": "deep"}}});
        assert_eq!(found(".list[0].type", &value), [json!("Ready")]);
        assert_eq!(found(".list[-1].type", &value), [json!("Other")]);
        assert_eq!(found(r#".list[?(@.type=="Ready")].status"#, &value), [json!("True")]);
        assert_eq!(found(".list[?(@.type != 'Ready')].n", &value), [json!(5)]);
        assert_eq!(found(".list[?(@.n > 4)].type", &value), [json!("Other")]);
        assert_eq!(found(".list[?(@.n)].type", &value), [json!("Other")]);
        assert_eq!(found(".list[*].type", &value), [json!("Ready"), json!("Other")]);
        assert_eq!(found(".list[0:1].type", &value), [json!("Ready")]);
        assert_eq!(found(r".a\.b", &value), [json!(1)]);
        assert_eq!(found("['a.b']", &value), [json!(1)]);
        assert_eq!(found("..name", &value), [json!("deep")]);
        assert_eq!(found(".nothing.here", &value), Vec::<Value>::new());
        assert_eq!(JsonPath::parse(".spec.a/b").unwrap().pointer().as_deref(), Some("/spec/a~1b"));
        assert_eq!(JsonPath::parse(".spec.list[0]").unwrap().pointer(), None);
    }

    #[test]
    fn what_is_no_path_is_said() {
        for path in [".a[", ".a[?(@.b", ".a..", "a", ".a[x]", ".a['b", ".a}", ".a[1:2:0]"] {
            JsonPath::parse(path).expect_err(path);
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_path_or_refused(text in "[.\\[\\]?()@='\"a-c0-9:,*<>! \\\\-]{0,40}") {
            if let Ok(path) = JsonPath::parse(&text) {
                _ = path.find(&json!({"a": [{"b": 1}, {"c": "x"}], "b": {"a": {"c": [1, 2]}}}));
            }
        }
    }
}
