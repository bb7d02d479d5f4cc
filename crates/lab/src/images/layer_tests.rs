use std::os::unix::fs::{MetadataExt, PermissionsExt};

use proptest::prelude::*;

use super::*;

/// One entry of a tar written for a test.
#[derive(Clone, Debug)]
enum Item {
    Directory(String),
    File(String, String),
    Symlink(String, String),
    HardLink(String, String),
}

fn tar_of(items: &[Item]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for item in items {
        let (name, kind, content, link) = match item {
            Item::Directory(name) => (name, EntryType::Directory, "", None),
            Item::File(name, content) => (name, EntryType::Regular, content.as_str(), None),
            Item::Symlink(name, target) => (name, EntryType::Symlink, "", Some(target)),
            Item::HardLink(name, target) => (name, EntryType::Link, "", Some(target)),
        };
        let mut header = tar::Header::new_gnu();
        // Written past the library, which refuses hostile names itself.
        let raw = header.as_gnu_mut().unwrap();
        raw.name[..name.len()].copy_from_slice(name.as_bytes());
        if let Some(target) = link {
            raw.linkname[..target.len()].copy_from_slice(target.as_bytes());
        }
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        header.set_uid(12345);
        header.set_gid(54321);
        header.set_mtime(1_000_000_000);
        header.set_cksum();
        builder.append(&header, content.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

fn file(name: &str, content: &str) -> Item {
    Item::File(name.into(), content.into())
}

fn directory(name: &str) -> Item {
    Item::Directory(name.into())
}

fn symlink(name: &str, target: &str) -> Item {
    Item::Symlink(name.into(), target.into())
}

fn hard_link(name: &str, target: &str) -> Item {
    Item::HardLink(name.into(), target.into())
}

/// A directory with a target to unpack into, and a neighbour that must never change.
struct Room {
    directory: tempfile::TempDir,
}

impl Room {
    fn new() -> Self {
        let room = Self { directory: tempfile::tempdir().unwrap() };
        fs::create_dir(room.target()).unwrap();
        fs::create_dir(room.directory.path().join("outside")).unwrap();
        fs::write(room.directory.path().join("outside/secret"), "untouched").unwrap();
        room
    }

    fn target(&self) -> PathBuf {
        self.directory.path().join("target")
    }

    fn unpack(&self, items: &[Item]) -> Result<(), LayerError> {
        unpack(&mut tar_of(items).as_slice(), &self.target(), LayerOptions::ImageLayer)
    }

    fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.target().join(name)).ok()
    }

    fn outside_is_untouched(&self) -> bool {
        let count = |name: &str| fs::read_dir(self.directory.path().join(name)).unwrap().count();
        let secret = self.directory.path().join("outside/secret");
        let metadata = fs::metadata(&secret).unwrap();
        count("") == 2
            && count("outside") == 1
            && metadata.nlink() == 1
            && metadata.uid() == 0
            && fs::read_to_string(secret).unwrap() == "untouched"
    }
}

#[test]
fn files_keep_their_owner_mode_time_and_links() {
    let room = Room::new();
    room.unpack(&[
        directory("a"),
        file("a/b", "text"),
        hard_link("c", "a/b"),
        symlink("d", "a/b"),
        file("e/f/g", "h"),
    ])
    .unwrap();
    let metadata = fs::metadata(room.target().join("c")).unwrap();
    assert_eq!((metadata.uid(), metadata.gid(), metadata.nlink()), (12345, 54321, 2));
    assert_eq!((metadata.permissions().mode() & 0o7777, metadata.mtime()), (0o755, 1_000_000_000));
    assert_eq!(fs::metadata(room.target().join("a")).unwrap().mtime(), 1_000_000_000);
    assert_eq!(fs::read_link(room.target().join("d")).unwrap(), Path::new("a/b"));
    assert_eq!(room.read("e/f/g").unwrap(), "h");
}

#[test]
fn whiteouts_hide_lower_layers_only() {
    let room = Room::new();
    room.unpack(&[file("keep", "1"), file("gone", "1"), file("tree/x", "1"), file("opaque/old", "1")])
        .unwrap();
    room.unpack(&[
        file("opaque/new", "2"),
        file("opaque/.wh..wh..opq", ""),
        file(".wh.gone", ""),
        file(".wh.tree", ""),
        file(".wh.never-was", ""),
        file("made", "2"),
        file(".wh.made", ""),
    ])
    .unwrap();
    assert_eq!(room.read("keep").unwrap(), "1");
    assert_eq!(room.read("gone"), None);
    assert!(!room.target().join("tree").exists());
    assert_eq!((room.read("opaque/old"), room.read("opaque/new").as_deref()), (None, Some("2")));
    assert_eq!(room.read("made").unwrap(), "2");
}

#[test]
fn a_whiteout_of_no_name_or_of_the_parent_hides_nothing() {
    let room = Room::new();
    room.unpack(&[file("a/b", "1")]).unwrap();
    room.unpack(&[file("a/.wh.", ""), file("a/.wh...", ""), file("a/.wh..", "")]).unwrap();
    assert_eq!(room.read("a/b").unwrap(), "1");
    assert!(room.outside_is_untouched());
}

#[test]
fn later_layers_replace_kinds() {
    let room = Room::new();
    room.unpack(&[file("tree/x", "1"), symlink("link", "tree"), file("flat", "1")]).unwrap();
    room.unpack(&[file("tree", "2"), directory("link"), file("flat/y", "2")]).unwrap_err();
    room.unpack(&[file("tree", "2"), directory("link"), directory("flat"), file("flat/y", "2")]).unwrap();
    assert_eq!(room.read("tree").unwrap(), "2");
    assert!(fs::symlink_metadata(room.target().join("link")).unwrap().is_dir());
    assert_eq!(room.read("flat/y").unwrap(), "2");
}

#[test]
fn names_that_climb_out_are_refused() {
    for item in [
        file("../outside/secret", "x"),
        file("a/../../outside/x", "x"),
        directory(".."),
        hard_link("a", "../b"),
    ] {
        let room = Room::new();
        let error = room.unpack(&[item]).unwrap_err();
        assert!(matches!(error, LayerError::PathEscapes { .. }), "{error}");
        assert!(room.outside_is_untouched());
    }
}

#[test]
fn links_that_point_out_lead_back_in() {
    let room = Room::new();
    let outside = room.directory.path().join("outside").display().to_string();
    room.unpack(&[
        symlink("absolute", "/somewhere"),
        symlink("climbing", "../../../../../../outside"),
        directory("somewhere"),
        directory("outside"),
        file("absolute/x", "1"),
        file("climbing/y", "2"),
    ])
    .unwrap();
    assert_eq!(
        (room.read("somewhere/x").as_deref(), room.read("outside/y").as_deref()),
        (Some("1"), Some("2"))
    );
    // To the neighbour by its true path: there is no such path in the image.
    assert!(room.unpack(&[symlink("evil", &outside), file("evil/secret", "x")]).is_err());
    let error = room.unpack(&[hard_link("stolen", "evil/secret")]).unwrap_err();
    assert!(matches!(error, LayerError::HardLinkTarget { .. }), "{error}");
    assert!(room.outside_is_untouched());
}

#[test]
fn an_existing_link_is_replaced_and_not_written_through() {
    let room = Room::new();
    let secret = room.directory.path().join("outside/secret").display().to_string();
    room.unpack(&[symlink("a", &secret), file("a", "mine")]).unwrap();
    assert_eq!(room.read("a").unwrap(), "mine");
    assert!(fs::symlink_metadata(room.target().join("a")).unwrap().is_file());
    assert!(room.outside_is_untouched());
}

#[test]
fn a_link_to_itself_keeps_the_file() {
    let room = Room::new();
    room.unpack(&[file("a", "1"), hard_link("a", "a")]).unwrap();
    assert_eq!(room.read("a").unwrap(), "1");
}

#[test]
fn compression_is_told_by_content() {
    use std::io::Write;
    let text = tar_of(&[file("a", "1")]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&text).unwrap();
    for packed in [text.clone(), gzip.finish().unwrap()] {
        let mut unpacked = Vec::new();
        decompress(packed.as_slice()).unwrap().read_to_end(&mut unpacked).unwrap();
        assert_eq!(unpacked, text);
    }
    let zstd = decompress(&[0x28, 0xb5, 0x2f, 0xfd, 0][..]).err().unwrap();
    assert!(matches!(zstd, LayerError::Zstd), "{zstd}");
}

/// Names made of few parts, so that entries meet each other, with every trick among them.
fn name() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        4 => prop::sample::select(vec!["a", "b", "c"]),
        1 => prop::sample::select(vec!["..", ".", "", "outside", "secret", ".wh.a", ".wh..wh..opq", ".wh...", "target"]),
    ];
    (any::<bool>(), prop::collection::vec(part, 1..4))
        .prop_map(|(absolute, parts)| format!("{}{}", if absolute { "/" } else { "" }, parts.join("/")))
}

fn item() -> impl Strategy<Value = Item> {
    prop_oneof![
        name().prop_map(Item::Directory),
        (name(), "[a-z]{0,3}").prop_map(|(name, content)| Item::File(name, content)),
        (name(), name()).prop_map(|(name, target)| Item::Symlink(name, target)),
        (name(), Just("../outside")).prop_map(|(name, target)| Item::Symlink(name, target.into())),
        (name(), name()).prop_map(|(name, target)| Item::HardLink(name, target)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn nothing_outside_is_ever_touched(layers in prop::collection::vec(prop::collection::vec(item(), 0..12), 1..4)) {
        let room = Room::new();
        for layer in &layers {
            // Refused or taken: both are fine, as long as it stays inside.
            let _ = room.unpack(layer);
            prop_assert!(room.outside_is_untouched());
        }
    }

    #[test]
    fn damaged_archives_never_panic(
        items in prop::collection::vec(item(), 1..6),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..20),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = tar_of(&items);
        for (place, value) in damage {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        bytes.truncate(cut.index(bytes.len()) + 1);
        let room = Room::new();
        if let Ok(mut tar) = decompress(bytes.as_slice()) {
            let _ = unpack(&mut tar, &room.target(), LayerOptions::ImageLayer);
        }
        prop_assert!(room.outside_is_untouched());
    }
}
