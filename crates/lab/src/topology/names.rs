//! What the namespaces of a lab are called: `ptl-LAB-ROLE`.
//!
//! A lab's name may have dashes in it, so a name is read from its end: the role is known, the rest is the lab.

const PREFIX: &str = "ptl-";
const ROUTER: &str = "router";
const OUTSIDE: &str = "outside";
const CONTROL_PLANE: &str = "control-plane";
const NODE: &str = "node";

/// The router's namespace.
#[must_use]
pub fn router(lab: &str) -> String {
    named(lab, ROUTER)
}

/// The namespace of the machine outside the cluster.
#[must_use]
pub fn outside(lab: &str) -> String {
    named(lab, OUTSIDE)
}

/// The control plane's namespace.
#[must_use]
pub fn control_plane(lab: &str) -> String {
    named(lab, CONTROL_PLANE)
}

/// A node's namespace, by its number from 1.
#[must_use]
pub fn node(lab: &str, number: usize) -> String {
    named(lab, &node_name(number))
}

/// A node's name, by its number from 1.
#[must_use]
pub fn node_name(number: usize) -> String {
    format!("{NODE}{number}")
}

fn named(lab: &str, role: &str) -> String {
    format!("{PREFIX}{lab}-{role}")
}

/// The lab that a namespace belongs to, if its name is one of ours.
#[must_use]
pub fn lab_of(namespace: &str) -> Option<&str> {
    let rest = namespace.strip_prefix(PREFIX)?;
    let fixed = [ROUTER, OUTSIDE, CONTROL_PLANE].iter().find_map(|role| rest.strip_suffix(role));
    let lab = match fixed {
        Some(lab) => lab,
        None => {
            let without_number = rest.trim_end_matches(|c: char| c.is_ascii_digit());
            if without_number.len() == rest.len() {
                return None;
            }
            without_number.strip_suffix(NODE)?
        }
    };
    lab.strip_suffix('-').filter(|lab| !lab.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_labs_own_namespaces_are_known_and_no_others() {
        for lab in ["a", "my-lab2", "a-node1", "router"] {
            for namespace in [router(lab), outside(lab), control_plane(lab), node(lab, 1), node(lab, 20)] {
                assert_eq!(lab_of(&namespace), Some(lab), "{namespace}");
            }
        }
        for other in
            ["", "ptl-", "ptl-router", "ptl--router", "ptl-a-node", "ptl-a-pod", "ptlt-1-a-router", "a-node1"]
        {
            assert_eq!(lab_of(other), None, "{other}");
        }
    }
}
