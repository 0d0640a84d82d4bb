//! What is stored comes back; what is damaged or old is made anew.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::cell::Cell;

use proptest::prelude::*;

use super::*;

fn map(width: usize, height: usize, labels: &[u32]) -> LabelMap {
    LabelMap::relabel(width, height, labels.to_vec()).unwrap()
}

fn maps() -> Vec<LabelMap> {
    vec![map(3, 2, &[0, 0, 1, 2, 1, 1]), map(1, 1, &[0])]
}

proptest! {
    #[test]
    fn packing_is_undone_exactly(
        width in 1usize..20, height in 1usize..20, labels in prop::collection::vec(0u32..300, 400), key: String
    ) {
        let maps = vec![map(width, height, &labels[..width * height])];
        prop_assert_eq!(unpack(&pack(&maps, &key), &key), Some(maps));
    }

    #[test]
    fn numbers_of_any_size_survive(value: u64) {
        let mut bytes = Vec::new();
        put(&mut bytes, value);
        let mut rest = &bytes[..];
        prop_assert_eq!(take(&mut rest), Some(value));
        prop_assert!(rest.is_empty());
    }

    #[test]
    fn damage_is_always_seen(at in 0usize..1000, flip in 1u8..=255, length in 0usize..1000) {
        let whole = pack(&maps(), "key");
        let mut damaged = whole.clone();
        let at = at % whole.len();
        damaged[at] ^= flip;
        prop_assert_eq!(unpack(&damaged, "key"), None);
        prop_assert_eq!(unpack(&whole[..length % whole.len()], "key"), None);
    }

    #[test]
    fn lies_with_a_good_checksum_do_no_harm(body in prop::collection::vec(any::<u8>(), 0..60)) {
        let mut bytes = MAGIC.to_vec();
        put(&mut bytes, 0);
        bytes.extend(body);
        let sum = hash(&bytes);
        bytes.extend(sum.to_le_bytes());
        let _ = unpack(&bytes, "");
    }
}

#[test]
fn an_entry_is_made_once_and_again_when_damaged_or_of_another_key() {
    let dir = tempfile::tempdir().unwrap();
    let cache = RegionCache::open(&dir.path().join("new/folder")).unwrap();
    let made = Cell::new(0);
    let make = || {
        made.set(made.get() + 1);
        Ok(maps())
    };
    assert_eq!(cache.get_or("a", make).unwrap(), maps());
    assert_eq!(cache.get_or("a", make).unwrap(), maps());
    assert_eq!(made.get(), 1);

    let files = || fs::read_dir(&cache.dir).unwrap().map(|e| e.unwrap().path());
    let entry = files().next().unwrap();
    for damage in [&b""[..], b"RMAEREG\x00 of an older version", &pack(&maps(), "b")] {
        fs::write(&entry, damage).unwrap();
        let before = made.get();
        assert_eq!(cache.get_or("a", make).unwrap(), maps());
        assert_eq!(made.get(), before + 1, "made anew");
        assert_eq!(cache.get_or("a", make).unwrap(), maps());
        assert_eq!(made.get(), before + 1, "and replaced");
    }
    assert_eq!(files().count(), 1, "no temporary file is left");
}

#[test]
fn a_cache_that_cannot_be_written_is_only_slower() {
    let dir = tempfile::tempdir().unwrap();
    let cache = RegionCache::open(&dir.path().join("gone")).unwrap();
    fs::remove_dir(dir.path().join("gone")).unwrap();
    assert_eq!(cache.get_or("a", || Ok(maps())).unwrap(), maps());
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(RegionCache::open(&file).unwrap_err().to_string().contains("file"));
}

#[test]
fn the_key_changes_with_the_file_and_every_parameter() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("a.png");
    fs::write(&image, "x").unwrap();
    let params = [FelzenszwalbParams::at_scale(500)];
    let first = key(&image, &params, 480).unwrap();
    assert_eq!(key(&image, &params, 480).unwrap(), first);
    assert_ne!(key(&image, &params, 320).unwrap(), first);
    for change in [
        |p: &mut FelzenszwalbParams| p.scale += 1.0,
        |p: &mut FelzenszwalbParams| p.sigma += 0.1,
        |p: &mut FelzenszwalbParams| p.min_size += 1,
    ] {
        let mut params = params;
        change(&mut params[0]);
        assert_ne!(key(&image, &params, 480).unwrap(), first);
    }
    fs::write(&image, "xy").unwrap();
    assert_ne!(key(&image, &params, 480).unwrap(), first);
}
