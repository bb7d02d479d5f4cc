//! What the kernel holds, as typed values.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use netstate::nft::{
    BaseChain, Chain, ChainKind, Data, Element, Hook, Name, NftError, Policy, Rule, Ruleset, Set, SetContent,
    SetDefinition, SetKind, Statement, Table, Tuple,
};

use super::batch::{self, INTERVAL_END, VERDICT_TYPE, message, set_flag};
use super::bytecode::{Expression, RawVerdict, read_value};
use super::{layout, lift, lower};
use crate::nfnetlink::{Attributes, Message, Messages, Socket, Writer, kind};

/// Reads a whole table; `None` if there is none.
pub(super) fn table(socket: &mut Socket, table: &Table) -> Result<Option<Ruleset>, NftError> {
    if !exists(socket, table)? {
        return Ok(None);
    }
    let mut chains = chains(socket, table)?;
    for (chain, rule) in rules(socket, table)? {
        // Rules of a chain that appeared between the two dumps are left to the next observation.
        if let Some(chain) = chains.get_mut(&chain) {
            chain.rules.push(rule);
        }
    }
    let mut sets = BTreeMap::new();
    for Found { name, definition, count } in definitions(socket, table)? {
        let set = match definition {
            Some(definition) => {
                let elements = match (definition.kind, count) {
                    (SetKind::Plain, Some(count)) => counted(socket, table, &name, &definition, count)?,
                    _ => elements(socket, table, &name, &definition)?,
                };
                elements.map_or_else(unknown_set, |elements| filled(definition, elements))
            }
            None => unknown_set(),
        };
        sets.insert(name, set);
    }
    Ok(Some(Ruleset { table: table.clone(), chains, sets }))
}

fn filled(definition: SetDefinition, elements: Vec<Element>) -> Set {
    Set { definition, elements: elements.into_iter().map(|element| (element.key, element.data)).collect() }
}

/// A set that these types cannot say: without a key, so equal to none that is planned, and made anew or deleted.
fn unknown_set() -> Set {
    Set::new(SetDefinition::set([]))
}

/// How often a dump that is not whole is repeated.
const ATTEMPTS: u64 = 20;

/// The kernel grows the hash table of a set in the background. A dump meanwhile goes on by number of elements seen, so
/// it shows some twice and others not at all, without a word. The worker needs a moment, the more the larger the table.
fn let_the_table_grow(attempt: u64) {
    std::thread::sleep(Duration::from_millis(5 * attempt));
}

fn never_whole() -> NftError {
    let source = io::Error::from_raw_os_error(nix::errno::Errno::EAGAIN as i32);
    NftError::Kernel { doing: "list elements, which kept changing their places", source }
}

/// The elements of one set; `None` if some cannot be read as its definition says. Those that a dump does not show are not
/// missed unless it shows others twice.
pub(super) fn elements(
    socket: &mut Socket,
    table: &Table,
    set: &Name,
    definition: &SetDefinition,
) -> Result<Option<Vec<Element>>, NftError> {
    let has_twice = |entries: &[Entry]| {
        let mut keys: Vec<_> = entries.iter().map(|entry| (&entry.key, entry.interval_end)).collect();
        keys.sort_unstable();
        keys.windows(2).any(|pair| pair[0] == pair[1])
    };
    for attempt in 1..=ATTEMPTS {
        let Some(entries) = entries(socket, table, set, definition)? else {
            return Ok(None);
        };
        if !has_twice(&entries) {
            return Ok(assemble(definition, entries));
        }
        let_the_table_grow(attempt);
    }
    Err(never_whole())
}

/// The same of a set with plain keys on a kernel that counts them, as it does since Linux 6.14: what a dump leaves out is
/// missed.
fn counted(
    socket: &mut Socket,
    table: &Table,
    set: &Name,
    definition: &SetDefinition,
    count: usize,
) -> Result<Option<Vec<Element>>, NftError> {
    let mut count = Some(count);
    let mut gathered: Vec<Element> = Vec::new();
    for attempt in 1..=ATTEMPTS {
        let Some(entries) = entries(socket, table, set, definition)? else {
            return Ok(None);
        };
        let dump = entries.into_iter().map(|Entry { key, data, .. }| Element { key, data });
        if gather(&mut gathered, dump, count) {
            return Ok(Some(gathered));
        }
        let_the_table_grow(attempt);
        let found = definitions(socket, table)?.into_iter().find(|found| found.name == *set);
        count = found.and_then(|found| found.count);
    }
    Err(never_whole())
}

/// Adds one more dump to what former ones told; whether that is all that the kernel has.
///
/// What one dump leaves out the next one adds, so that a table that grows all the time cannot keep us from ever seeing the
/// whole. What somebody takes out meanwhile makes more than there are: then it begins anew. Only what somebody exchanges
/// behind the dump's back goes unnoticed here; the [generation](netstate::nft::NftPort::generation) tells of that.
pub(super) fn gather(
    gathered: &mut Vec<Element>,
    dump: impl Iterator<Item = Element>,
    count: Option<usize>,
) -> bool {
    gathered.extend(dump);
    gathered.sort_by(|one, other| one.key.cmp(&other.key));
    gathered.dedup_by(|later, earlier| {
        let again = later.key == earlier.key;
        if again {
            std::mem::swap(later, earlier);
        }
        again
    });
    if count.is_none_or(|count| count < gathered.len()) {
        gathered.clear();
    }
    count == Some(gathered.len())
}

/// One dump; `None` if some entry cannot be read as the definition says.
fn entries(
    socket: &mut Socket,
    table: &Table,
    set: &Name,
    definition: &SetDefinition,
) -> Result<Option<Vec<Entry>>, NftError> {
    let body = |writer: &mut Writer| {
        writer.text(1, table.name.as_str());
        writer.text(2, set.as_str());
    };
    let entries = dump(socket, table, message::GET_ELEMENT, "list elements", body, |message, entries| {
        let list = message.attributes().nest(3).unwrap_or(Attributes::new(&[]));
        entries.extend(list.into_iter().map(|(_, entry)| read_entry(definition, Attributes::new(entry))));
    })?;
    Ok(entries.into_iter().collect())
}

/// The kernel's count of each set; `None` if there is no such table.
pub(super) fn element_counts(
    socket: &mut Socket,
    table: &Table,
) -> Result<Option<BTreeMap<Name, usize>>, NftError> {
    if !exists(socket, table)? {
        return Ok(None);
    }
    let counts = definitions(socket, table)?.into_iter().filter_map(|set| Some((set.name, set.count?)));
    Ok(Some(counts.collect()))
}

/// How many commits there were in the namespace (`NFTA_GEN_ID`).
pub(super) fn generation(socket: &mut Socket) -> Result<u32, NftError> {
    const DOING: &str = "read the generation";
    const IDENTIFIER: u16 = 1;
    let request = |sequence| {
        let mut writer = Writer::default();
        // The acknowledgement ends the answer, as the last message ends a dump.
        let flags = kind::REQUEST | kind::ACKNOWLEDGE;
        writer.message(message::GET_GENERATION, flags, sequence, 0, 0, |_| {});
        // A message without attributes cannot outgrow one.
        writer.finish().unwrap_or_default()
    };
    socket
        .dump(request, || None, |found, message| *found = message.attributes().u32(IDENTIFIER).or(*found))
        .map_err(|source| NftError::Kernel { doing: DOING, source })?
        .ok_or_else(|| NftError::Malformed { doing: DOING, reason: "there is none in it".to_owned() })
}

fn exists(socket: &mut Socket, table: &Table) -> Result<bool, NftError> {
    let found = dump(
        socket,
        table,
        message::GET_TABLE,
        "list tables",
        |_| {},
        |message, found: &mut Vec<()>| {
            if message.attributes().text(1) == Some(table.name.as_str()) {
                found.push(());
            }
        },
    )?;
    Ok(!found.is_empty())
}

fn chains(socket: &mut Socket, table: &Table) -> Result<BTreeMap<Name, Chain>, NftError> {
    let body = |writer: &mut Writer| writer.text(1, table.name.as_str());
    let found =
        dump(socket, table, message::GET_CHAIN, "list chains", body, |message, found: &mut Vec<_>| {
            let attributes = message.attributes();
            if attributes.text(1) == Some(table.name.as_str()) {
                found.extend(read_chain(attributes));
            }
        })?;
    Ok(found.into_iter().collect())
}

fn rules(socket: &mut Socket, table: &Table) -> Result<Vec<(Name, Rule)>, NftError> {
    let body = |writer: &mut Writer| writer.text(1, table.name.as_str());
    dump(socket, table, message::GET_RULE, "list rules", body, |message, found: &mut Vec<_>| {
        let attributes = message.attributes();
        if attributes.text(1) == Some(table.name.as_str()) {
            found.extend(read_rule(table, attributes));
        }
    })
}

/// A set without its elements.
struct Found {
    name: Name,
    /// `None` if it is of a kind that we never make.
    definition: Option<SetDefinition>,
    /// How many entries the kernel has, if it says so (`NFTA_SET_COUNT`).
    count: Option<usize>,
}

fn definitions(socket: &mut Socket, table: &Table) -> Result<Vec<Found>, NftError> {
    const COUNT: u16 = 20;
    let body = |writer: &mut Writer| writer.text(1, table.name.as_str());
    dump(socket, table, message::GET_SET, "list sets", body, |message, found: &mut Vec<_>| {
        let attributes = message.attributes();
        if attributes.text(1) == Some(table.name.as_str()) {
            let name = attributes.text(2).and_then(|name| Name::new(name).ok());
            let count = attributes.u32(COUNT).and_then(|count| usize::try_from(count).ok());
            found.extend(name.map(|name| Found { name, definition: read_definition(attributes), count }));
        }
    })
}

fn dump<T>(
    socket: &mut Socket,
    table: &Table,
    kind: u16,
    doing: &'static str,
    body: impl Fn(&mut Writer),
    mut each: impl FnMut(&Message<'_>, &mut Vec<T>),
) -> Result<Vec<T>, NftError> {
    let family = lower::family_number(table.family);
    let request = |sequence| {
        let mut writer = Writer::default();
        writer.message(kind, kind::REQUEST | kind::DUMP, sequence, family, 0, |writer| body(writer));
        // Two names of at most 255 bytes cannot outgrow an attribute.
        writer.finish().unwrap_or_default()
    };
    socket
        .dump(request, Vec::new, |found, message| {
            if message.family() == Some(family) {
                each(message, found);
            }
        })
        .map_err(|source| NftError::Kernel { doing, source })
}

fn read_chain(attributes: Attributes<'_>) -> Option<(Name, Chain)> {
    let name = Name::new(attributes.text(3)?).ok()?;
    let base = match attributes.nest(4) {
        None => None,
        Some(hook) => Some(BaseChain {
            kind: [ChainKind::Filter, ChainKind::Nat, ChainKind::Route]
                .into_iter()
                .find(|kind| Some(batch::kind_name(*kind)) == attributes.text(7))?,
            hook: [Hook::Prerouting, Hook::Input, Hook::Forward, Hook::Output, Hook::Postrouting]
                .into_iter()
                .find(|candidate| Some(batch::hook_number(*candidate)) == hook.u32(1))?,
            priority: i32::from_be_bytes(hook.find(2)?.try_into().ok()?),
            policy: [Policy::Accept, Policy::Drop]
                .into_iter()
                .find(|policy| Some(batch::policy_number(*policy)) == attributes.u32(5))?,
        }),
    };
    Some((name, Chain { base, rules: Vec::new() }))
}

/// Reads messages of a listing in whatever order, each as all that it may be, and gives the elements of sets, which follow
/// their definition.
pub(crate) fn listing(table: &Table, bytes: &[u8]) -> Vec<(SetDefinition, Vec<Element>)> {
    let mut definition = None;
    let mut sets = Vec::new();
    for message in Messages::new(bytes) {
        let attributes = message.attributes();
        // Only what they might do to us is of interest.
        let _ = (read_chain(attributes), read_rule(table, attributes));
        if let (Some(definition), Some(list)) = (&definition, attributes.nest(3)) {
            let entries =
                list.into_iter().filter_map(|(_, entry)| read_entry(definition, Attributes::new(entry)));
            let elements = assemble(definition, entries.collect());
            sets.extend(elements.map(|elements| (definition.clone(), elements)));
        }
        definition = read_definition(attributes).or(definition);
    }
    sets
}

fn read_rule(table: &Table, attributes: Attributes<'_>) -> Option<(Name, Rule)> {
    let chain = Name::new(attributes.text(2)?).ok()?;
    let rule = match attributes.nest(4) {
        Some(list) => lift::rule(table.family, &Expression::read_list(list)),
        None => Rule::new([Statement::Foreign { expression: "a rule without expressions".to_owned() }]),
    };
    Some((chain, rule))
}

/// `None` if the set is of a kind that we never make.
fn read_definition(attributes: Attributes<'_>) -> Option<SetDefinition> {
    let flags = attributes.u32(3).unwrap_or(0);
    let key = layout::fields(attributes.u32(4)?)?;
    let content = match attributes.u32(6) {
        None | Some(0) => SetContent::Keys,
        Some(VERDICT_TYPE) => SetContent::Verdicts,
        Some(number) => SetContent::Values(layout::fields(number)?),
    };
    let kind = if flags & set_flag::DYNAMIC != 0 {
        let size = attributes.nest(9).and_then(|description| description.u32(1))?;
        let timeout = attributes.u64(11).filter(|timeout| *timeout != 0).map(Duration::from_millis);
        SetKind::Dynamic { size, timeout }
    } else if flags & set_flag::INTERVAL != 0 {
        SetKind::Interval
    } else {
        SetKind::Plain
    };
    let definition = SetDefinition { key, content, kind };
    let same = batch::flags(&definition) == flags
        && attributes.u32(5) == u32::try_from(layout::length(&definition.key)).ok();
    same.then_some(definition)
}

/// One entry of a set as the kernel keeps it.
struct Entry {
    key: Tuple,
    key_end: Option<Tuple>,
    interval_end: bool,
    data: Data,
}

fn read_entry(definition: &SetDefinition, attributes: Attributes<'_>) -> Option<Entry> {
    let key =
        |kind| attributes.nest(kind).and_then(read_value).map(|bytes| layout::tuple(&definition.key, bytes));
    let interval_end = attributes.u32(3).unwrap_or(0) & INTERVAL_END != 0;
    let data = match &definition.content {
        _ if interval_end => Data::Nothing,
        SetContent::Keys => Data::Nothing,
        SetContent::Verdicts => Data::Verdict(lift::verdict(&RawVerdict::read(attributes.nest(2)?)?)?),
        SetContent::Values(fields) => {
            Data::Values(layout::tuple(fields, attributes.nest(2).and_then(read_value)?)?)
        }
    };
    let key_end = match key(10) {
        None => None,
        Some(end) => Some(end?),
    };
    Some(Entry { key: key(1)??, key_end, interval_end, data })
}

/// Puts the edges of intervals together.
fn assemble(definition: &SetDefinition, entries: Vec<Entry>) -> Option<Vec<Element>> {
    let element = |key, data| Element { key, data };
    match definition.kind {
        SetKind::Plain | SetKind::Dynamic { .. } => {
            Some(entries.into_iter().map(|entry| element(entry.key, entry.data)).collect())
        }
        SetKind::Interval if definition.key.len() > 1 => entries
            .into_iter()
            .map(|entry| {
                let end = entry.key_end.unwrap_or_else(|| entry.key.clone());
                Some(element(layout::from_bounds(&entry.key, &end)?, entry.data))
            })
            .collect(),
        SetKind::Interval => {
            let (ends, starts): (Vec<_>, Vec<_>) = entries.into_iter().partition(|entry| entry.interval_end);
            let mut ends: Vec<Tuple> = ends.into_iter().map(|entry| entry.key).collect();
            ends.sort();
            starts
                .into_iter()
                .map(|start| {
                    let next = ends.partition_point(|end| *end <= start.key);
                    let last = last_before(definition, ends.get(next))?;
                    Some(element(layout::from_bounds(&start.key, &last)?, start.data))
                })
                .collect()
        }
    }
}

/// The last value of an interval that ends before `end`, or never.
fn last_before(definition: &SetDefinition, end: Option<&Tuple>) -> Option<Tuple> {
    let bytes = match end {
        Some(end) => layout::predecessor(layout::tuple_bytes(end)?)?,
        None => vec![0xff; layout::length(&definition.key)],
    };
    layout::tuple(&definition.key, &bytes)
}
