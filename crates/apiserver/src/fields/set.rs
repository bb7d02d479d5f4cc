//! Sets of paths, as trees.

use std::cmp::Ordering;

use super::path::PathElement;

/// A set of paths into an object.
///
/// Entries are in order, no element comes twice, and every entry is a member or has something below it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Set<'a> {
    entries: Vec<Entry<'a>>,
}

/// A step that paths of the set have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    pub(super) element: PathElement<'a>,
    /// The path that ends here is in the set.
    pub(super) member: bool,
    /// The paths that go on from here.
    pub(super) children: Set<'a>,
}

impl Entry<'_> {
    fn holds(&self) -> bool {
        self.member || !self.children.is_empty()
    }
}

impl<'a> Set<'a> {
    /// The set of these entries, in any order; what comes twice is united.
    pub(super) fn new(mut entries: Vec<Entry<'a>>) -> Self {
        entries.retain(Entry::holds);
        if !entries.is_sorted_by(|one, other| one.element < other.element) {
            entries.sort_by(|one, other| one.element.cmp(&other.element));
            entries.dedup_by(|later, first| {
                let same = later.element == first.element;
                if same {
                    first.member |= later.member;
                    let (ours, theirs) =
                        (std::mem::take(&mut first.children), std::mem::take(&mut later.children));
                    first.children = ours.union(theirs);
                }
                same
            });
        }
        Self { entries }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn entries(&self) -> &[Entry<'a>] {
        &self.entries
    }

    pub(super) fn into_entries(self) -> Vec<Entry<'a>> {
        self.entries
    }

    /// The entry of a step.
    pub(super) fn entry(&self, element: &PathElement<'_>) -> Option<&Entry<'a>> {
        let place = self.entries.binary_search_by(|entry| order(&entry.element, element)).ok()?;
        self.entries.get(place)
    }

    /// The paths of either set.
    pub(super) fn union(self, other: Self) -> Self {
        if self.is_empty() {
            return other;
        }
        let mut out = Vec::with_capacity(self.entries.len().max(other.entries.len()));
        let (mut ours, mut theirs) =
            (self.entries.into_iter().peekable(), other.entries.into_iter().peekable());
        loop {
            let order = match (ours.peek(), theirs.peek()) {
                (Some(one), Some(other)) => one.element.cmp(&other.element),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return Self { entries: out },
            };
            match order {
                Ordering::Less => out.extend(ours.next()),
                Ordering::Greater => out.extend(theirs.next()),
                Ordering::Equal => {
                    if let (Some(one), Some(other)) = (ours.next(), theirs.next()) {
                        out.push(Entry {
                            element: one.element,
                            member: one.member || other.member,
                            children: one.children.union(other.children),
                        });
                    }
                }
            }
        }
    }

    /// Takes out a path of members and all below it.
    pub(super) fn remove_below(&mut self, path: &[&str]) {
        let Some((name, rest)) = path.split_first() else { return };
        self.entries.retain_mut(|entry| {
            if !matches!(&entry.element, PathElement::Field(field) if field == name) {
                return true;
            }
            entry.children.remove_below(rest);
            !rest.is_empty() && entry.holds()
        });
    }

    /// The paths of this set that the other does not have.
    pub(super) fn difference(mut self, other: &Set<'_>) -> Self {
        if other.is_empty() {
            return self;
        }
        let mut theirs = other.entries.iter().peekable();
        self.entries.retain_mut(|entry| {
            while theirs.next_if(|their| order(&their.element, &entry.element).is_lt()).is_some() {}
            if let Some(their) = theirs.next_if(|their| order(&their.element, &entry.element).is_eq()) {
                entry.member &= !their.member;
                entry.children = std::mem::take(&mut entry.children).difference(&their.children);
            }
            entry.holds()
        });
        self
    }

    /// The paths of this set that the other has too.
    pub(super) fn intersection(&self, other: &Set<'_>) -> Self {
        let mut theirs = other.entries.iter().peekable();
        let mut out = Vec::new();
        for entry in &self.entries {
            while theirs.next_if(|their| order(&their.element, &entry.element).is_lt()).is_some() {}
            let Some(their) = theirs.next_if(|their| order(&their.element, &entry.element).is_eq()) else {
                continue;
            };
            let common = Entry {
                element: entry.element.clone(),
                member: entry.member && their.member,
                children: entry.children.intersection(&their.children),
            };
            if common.holds() {
                out.push(common);
            }
        }
        Self { entries: out }
    }

    /// Every path, in order, as conflicts name it.
    pub(super) fn paths(&self) -> Vec<String> {
        let mut out = Vec::new();
        self.collect_paths(&mut String::new(), &mut out);
        out
    }

    fn collect_paths(&self, prefix: &mut String, out: &mut Vec<String>) {
        // structured-merge-diff names the members of a level before it goes deeper.
        for entry in self.entries.iter().filter(|entry| entry.member) {
            out.push(format!("{prefix}{}", entry.element));
        }
        for entry in &self.entries {
            let end = prefix.len();
            prefix.push_str(&entry.element.to_string());
            entry.children.collect_paths(prefix, out);
            prefix.truncate(end);
        }
    }
}

/// Compares elements that live differently long.
fn order(one: &PathElement<'_>, other: &PathElement<'_>) -> Ordering {
    one.cmp(other)
}
