//! The order of a merged list: items the patch names in the patch's order, the others where the server had them.

use serde_json::Value;

use crate::kinds::schema::Merge;

/// Arranges `merged`; `wanted` is the patch's list, `server` the list before.
pub(super) fn arrange(merged: Vec<Value>, wanted: &[Value], server: &[Value], merge: Merge) -> Vec<Value> {
    let place = |list: &[Value], item: &Value| list.iter().position(|other| same(other, item, merge));
    let mut named: Vec<(usize, Value)> = Vec::new();
    let mut others = Vec::new();
    for item in merged {
        match place(wanted, &item) {
            Some(index) => named.push((index, item)),
            None => others.push((place(server, &item).unwrap_or(usize::MAX), item)),
        }
    }
    named.sort_by_key(|(index, _)| *index);
    others.sort_by_key(|(index, _)| *index);
    let mut result = Vec::with_capacity(named.len() + others.len());
    let (mut named, mut others) = (named.into_iter().peekable(), others.into_iter().peekable());
    while let (Some((_, item)), Some((index, _))) = (named.peek(), others.peek()) {
        // An item that both lists know goes by the server's order, a new one goes first.
        let before = *index != usize::MAX && place(server, item).is_some_and(|place| *index < place);
        result.extend(if before { others.next() } else { named.next() }.map(|(_, item)| item));
    }
    result.extend(named.chain(others).map(|(_, item)| item));
    result
}

fn same(one: &Value, other: &Value, merge: Merge) -> bool {
    match merge {
        Merge::ByKey(key) => one.get(key).is_some() && one.get(key) == other.get(key),
        Merge::Set | Merge::Plain => one == other,
    }
}
