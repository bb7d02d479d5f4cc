//! Who a container's process is: the words of image and spec made numbers, with the image's own user list.

use super::{ContainerError, RunAs};

/// A process's identity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Identity {
    pub uid: u32,
    pub gid: u32,
    pub additional_gids: Vec<u32>,
    /// The user's home directory, when the image lists one.
    pub home: Option<String>,
}

/// Reads an image's `User` (`name`, `uid`, `name:group`, …) as Docker does, unless `run_as` says otherwise.
///
/// `passwd` and `group` are the image's `/etc/passwd` and `/etc/group`, empty when it has none.
pub(super) fn identity(
    image: &str,
    run_as: &RunAs,
    passwd: &str,
    group: &str,
) -> Result<Identity, ContainerError> {
    let unknown = |reason| ContainerError::UnknownUser { user: image.to_owned(), reason };
    let (user_word, group_word) = match image.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (image, None),
    };
    let wanted = run_as.user.map(|uid| uid.to_string());
    let word = wanted.as_deref().unwrap_or(user_word);
    let word = if word.is_empty() { "0" } else { word };
    let number = word.parse::<u32>().ok();
    let known = passwd
        .lines()
        .filter_map(PasswdLine::parse)
        .find(|line| line.name == word || Some(line.uid) == number);
    let uid = match (&known, number) {
        (Some(line), _) => line.uid,
        (None, Some(uid)) => uid,
        (None, None) => return Err(unknown("no matching entries in passwd file")),
    };
    if run_as.not_root && uid == 0 {
        return Err(ContainerError::RefusedRoot);
    }
    let named_group = match group_word {
        // A group of the image's word goes with the image's user only.
        Some(word) if !word.is_empty() && run_as.user.is_none() => {
            Some(group_id(word, group).ok_or_else(|| unknown("no matching entries in group file"))?)
        }
        Some(_) | None => None,
    };
    let gid = run_as.group.or(named_group).or_else(|| known.as_ref().map(|line| line.gid)).unwrap_or(0);
    let mut additional_gids = match &known {
        Some(line) if named_group.is_none() => memberships(line.name, group),
        Some(_) | None => Vec::new(),
    };
    additional_gids.extend(run_as.groups.iter().filter(|group| **group != gid));
    additional_gids.sort_unstable();
    additional_gids.dedup();
    Ok(Identity { uid, gid, additional_gids, home: known.map(|line| line.home.to_owned()) })
}

struct PasswdLine<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

impl<'a> PasswdLine<'a> {
    /// One line of passwd(5).
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(Self { name, uid, gid, home: fields.nth(1).unwrap_or("/") })
    }
}

fn group_id(word: &str, groups: &str) -> Option<u32> {
    let by_name = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == word).then(|| fields.nth(1)?.parse().ok()).flatten()
    });
    by_name.or_else(|| word.parse().ok())
}

/// Groups of group(5) that list the user.
fn memberships(user: &str, groups: &str) -> Vec<u32> {
    let of_line = |line: &str| {
        let mut fields = line.split(':').skip(2);
        let gid = fields.next()?.parse::<u32>().ok()?;
        fields.next()?.split(',').any(|member| member == user).then_some(gid)
    };
    groups.lines().filter_map(of_line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33:www:/var/www:/bin/false\nbroken\n";
    const GROUP: &str = "root:x:0:\nwww-data:x:33:\nadm:x:4:www-data,other\n";

    fn of(image: &str, run_as: &RunAs) -> (u32, u32, Vec<u32>) {
        let identity = identity(image, run_as, PASSWD, GROUP).unwrap();
        (identity.uid, identity.gid, identity.additional_gids)
    }

    #[test]
    fn the_images_word_is_read_as_docker_does() {
        let image = &RunAs::default();
        assert_eq!(of("", image), (0, 0, vec![]));
        assert_eq!(of("www-data", image), (33, 33, vec![4]));
        assert_eq!(of("33", image), (33, 33, vec![4]));
        assert_eq!(of("www-data:adm", image), (33, 4, vec![]));
        assert_eq!(of("1000", image), (1000, 0, vec![]));
        assert_eq!(of("1000:1001", image), (1000, 1001, vec![]));
    }

    fn as_user(user: Option<u32>, group: Option<u32>) -> RunAs {
        RunAs { user, group, ..RunAs::default() }
    }

    #[test]
    fn root_is_refused_where_it_must_not_be() {
        let not_root = RunAs { not_root: true, ..RunAs::default() };
        assert!(matches!(identity("", &not_root, PASSWD, GROUP), Err(ContainerError::RefusedRoot)));
        assert_eq!(of("www-data", &not_root), (33, 33, vec![4]));
        let groups = RunAs { groups: vec![4, 2000, 33], ..RunAs::default() };
        assert_eq!(of("www-data", &groups), (33, 33, vec![4, 2000]));
    }

    #[test]
    fn the_pods_word_wins() {
        assert_eq!(of("root", &as_user(Some(33), None)), (33, 33, vec![4]));
        assert_eq!(of("www-data:adm", &as_user(Some(7), Some(8))), (7, 8, vec![]));
        assert_eq!(of("www-data", &as_user(None, Some(8))), (33, 8, vec![4]));
    }

    #[test]
    fn a_name_that_the_image_does_not_know_is_an_error() {
        for word in ["nobody", "root:nogroup", "99999999999"] {
            assert!(identity(word, &RunAs::default(), PASSWD, GROUP).is_err(), "{word}");
        }
    }
}
