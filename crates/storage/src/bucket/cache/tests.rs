use super::*;

fn settings(path: &Path, capacity: u64) -> CacheSettings {
    CacheSettings { path: path.to_owned(), capacity: redkite_runtime::units::Bytes(capacity) }
}

fn open(path: &Path, capacity: u64) -> Arc<Cache> {
    Arc::new(Cache::open(&settings(path, capacity)).unwrap())
}

fn version(size: u64) -> Version {
    Version { size, etag: "one".to_owned() }
}

/// Adds a copy of ten bytes.
fn add(cache: &Cache, path: &str) -> LocalObject {
    let mut writer = cache.begin(path).unwrap();
    writer.append(&[7; 10]).unwrap();
    cache.adopt(writer, &version(10)).unwrap()
}

fn held(cache: &Cache, path: &str) -> bool {
    cache.find(path, &version(10)).unwrap().is_some()
}

/// Files below the cache's rooms.
fn files(root: &Path) -> usize {
    fn below(directory: &Path) -> usize {
        fs::read_dir(directory)
            .unwrap()
            .map(|child| child.unwrap().path())
            .map(|path| if path.is_dir() { below(&path) } else { 1 })
            .sum()
    }
    below(&root.join(OBJECTS)) + below(&root.join(STAGING))
}

#[test]
fn what_was_used_longest_ago_goes_first() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), 35);
    for path in ["s/a", "s/b", "t/c"] {
        add(&cache, path);
    }
    assert!(held(&cache, "s/a"));
    add(&cache, "t/d");
    assert!(!held(&cache, "s/b"));
    assert!(held(&cache, "s/a") && held(&cache, "t/c") && held(&cache, "t/d"));
    let usage = cache.usage();
    assert_eq!((usage.files, usage.bytes, usage.evicted), (3, 30, 1));
    assert_eq!(files(dir.path()), 3);
}

#[test]
fn what_is_open_or_mapped_is_never_removed() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), 20);
    let opened = add(&cache, "a");
    let mapped = add(&cache, "b").map().unwrap();
    add(&cache, "c");
    drop(add(&cache, "d"));
    assert_eq!(cache.usage().bytes, 30, "the two in use, and the newest");
    assert!(held(&cache, "a") && held(&cache, "b"));
    assert_eq!(mapped.as_ref(), [7; 10]);
    drop((opened, mapped));
    drop(add(&cache, "e"));
    assert_eq!(cache.usage().bytes, 20, "back within the capacity");
}

#[test]
fn downloads_have_their_room_kept() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), 30);
    add(&cache, "a");
    add(&cache, "b");
    let room = cache.reserve(20);
    assert!(!held(&cache, "a") && held(&cache, "b"));
    assert_eq!(cache.usage().reserved, 20);
    drop(room);
    assert_eq!(cache.usage().reserved, 0);
    cache.shrink();
    assert_eq!((cache.usage().bytes, files(dir.path())), (0, 0));
    assert_eq!(fs::read_dir(dir.path().join(OBJECTS)).unwrap().count(), 0, "empty directories go, too");
}

#[test]
fn a_restart_finds_complete_copies_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), 100);
    add(&cache, "s/a");
    add(&cache, "s/b");
    let mut half = cache.begin("s/c").unwrap();
    half.append(b"half").unwrap();
    std::mem::forget(half);
    let name = |path| dir.path().join(OBJECTS).join(name::of(path, (&version(10)).into()));
    File::options().write(true).open(name("s/b")).unwrap().set_len(9).unwrap();
    fs::write(dir.path().join(OBJECTS).join("stranger"), "not a copy").unwrap();
    drop(cache);

    let cache = open(dir.path(), 100);
    assert!(held(&cache, "s/a") && !held(&cache, "s/b") && !held(&cache, "s/c"));
    assert_eq!((cache.usage().files, files(dir.path())), (1, 1));
    drop(cache);

    let cache = open(dir.path(), 5);
    assert_eq!((cache.usage().files, files(dir.path())), (0, 0), "the capacity was lowered");
}

#[test]
fn after_the_machine_was_restarted_no_copy_is_trusted() {
    let dir = tempfile::tempdir().unwrap();
    add(&open(dir.path(), 100), "a");
    fs::write(dir.path().join(BOOT), "another boot").unwrap();
    let cache = open(dir.path(), 100);
    assert_eq!((cache.usage().files, files(dir.path())), (0, 0));
    drop(cache);
    assert!(same_boot(dir.path()));
}

#[test]
fn copies_of_other_versions_and_damaged_ones_are_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), 100);
    add(&cache, "a");
    let other = Version { size: 10, etag: "two".to_owned() };
    assert!(cache.find("a", &other).unwrap().is_none());
    assert_eq!(files(dir.path()), 0);

    let damaged = add(&cache, "a").path().to_owned();
    File::options().write(true).open(&damaged).unwrap().set_len(3).unwrap();
    assert!(!held(&cache, "a"));
    let removed = add(&cache, "a").path().to_owned();
    fs::remove_file(removed).unwrap();
    assert!(!held(&cache, "a"));
    assert_eq!((cache.usage().files, cache.usage().bytes), (0, 0));
}

#[test]
fn a_directory_is_for_one_process() {
    let dir = tempfile::tempdir().unwrap();
    let _first = open(dir.path(), 100);
    let error = Cache::open(&settings(dir.path(), 100)).unwrap_err();
    assert!(
        matches!(error, Error::Settings { .. }) && error.to_string().contains("another process"),
        "{error}"
    );
}
