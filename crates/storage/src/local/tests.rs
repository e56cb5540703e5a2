use super::*;
use crate::contract::assert_object_store_contract;

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    assert_object_store_contract(Arc::new(LocalStore::open(dir.path().join("objects")).await.unwrap())).await;
    assert_eq!(fs::read_dir(dir.path().join("objects/.staging")).unwrap().count(), 0, "temporaries left");
}

#[tokio::test]
async fn open_removes_what_a_crash_left() {
    let dir = tempfile::tempdir().unwrap();
    let store = LocalStore::open(dir.path()).await.unwrap();
    let mut writer = store.writer("a/b").await.unwrap();
    writer.append(b"half").unwrap();
    std::mem::forget(writer);
    assert_eq!(fs::read_dir(dir.path().join(STAGING)).unwrap().count(), 1);
    let store = LocalStore::open(dir.path()).await.unwrap();
    assert_eq!(fs::read_dir(dir.path().join(STAGING)).unwrap().count(), 0);
    assert!(store.list("").await.unwrap().is_empty());
}

#[tokio::test]
async fn deleting_the_last_object_removes_its_directories() {
    let dir = tempfile::tempdir().unwrap();
    let store = LocalStore::open(dir.path()).await.unwrap();
    store.put("a/b/one", Bytes::from_static(b"1")).await.unwrap();
    store.put("a/two", Bytes::from_static(b"2")).await.unwrap();
    store.delete("a/b/one").await.unwrap();
    assert!(!dir.path().join("a/b").exists());
    store.delete("a/two").await.unwrap();
    assert!(!dir.path().join("a").exists());
}

#[tokio::test]
async fn an_unwritable_directory_is_refused_at_open() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("objects");
    drop(LocalStore::open(&root).await.unwrap());
    fs::set_permissions(root.join(STAGING), fs::Permissions::from_mode(0o555)).unwrap();
    let opened = LocalStore::open(&root).await;
    fs::set_permissions(root.join(STAGING), fs::Permissions::from_mode(0o755)).unwrap();
    match opened {
        Err(error) => assert!(!error.retryable() && error.to_string().contains(STAGING), "{error}"),
        Ok(_) => eprintln!("ignored: this user may write everywhere"),
    }
}
