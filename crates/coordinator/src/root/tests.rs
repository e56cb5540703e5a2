//! Commands against a real metastore: what is refused and how, repetition, races, crashes.

use std::sync::Arc;

use futures::future::join_all;
use proptest::prelude::*;
use redkite_catalog::{LoadRecord, LoadScope, Metadata, NameRecord, Properties};
use redkite_service::{Code, Ddl, Error, NewField, RequestId, RootCoord};
use redkite_types::{ConsistencyLevel, DataType, FieldId, Timestamp};

use super::*;
use crate::testing::{World, create_collection, field};

fn create(name: &str) -> Ddl {
    create_collection(name, 2)
}

fn drop_collection(name: &str) -> Ddl {
    Ddl::DropCollection { database: String::new(), collection: name.to_owned() }
}

fn rename(from: &str, database: &str, to: &str) -> Ddl {
    Ddl::RenameCollection {
        database: String::new(),
        collection: from.to_owned(),
        new_database: database.to_owned(),
        new_name: to.to_owned(),
    }
}

fn create_alias(collection: &str, alias: &str) -> Ddl {
    Ddl::CreateAlias { database: String::new(), collection: collection.to_owned(), alias: alias.to_owned() }
}

fn alter_alias(collection: &str, alias: &str) -> Ddl {
    Ddl::AlterAlias { database: String::new(), collection: collection.to_owned(), alias: alias.to_owned() }
}

fn partition(name: &str, create: bool) -> Ddl {
    let (database, collection, partition) = (String::new(), "c".to_owned(), name.to_owned());
    if create {
        Ddl::CreatePartition { database, collection, partition }
    } else {
        Ddl::DropPartition { database, collection, partition }
    }
}

fn alter(set: &[(&str, &str)], delete: &[&str]) -> Ddl {
    Ddl::AlterCollection {
        database: String::new(),
        collection: "c".to_owned(),
        set: set.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        delete: delete.iter().map(|key| (*key).to_owned()).collect(),
    }
}

fn database(name: &str) -> Ddl {
    Ddl::CreateDatabase { name: name.to_owned(), properties: Properties::new() }
}

struct Client {
    world: World,
    root: Arc<RootCoordinator>,
    next: std::sync::atomic::AtomicU64,
}

impl Client {
    async fn start() -> Self {
        Self::with(RootSettings::default()).await
    }

    async fn with(settings: RootSettings) -> Self {
        let world = World::start().await;
        let root = RootCoordinator::start(world.environment(), settings).await.unwrap();
        Self { world, root, next: 1.into() }
    }

    async fn run(&self, command: Ddl) -> Result<DdlAck> {
        let id = self.next.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        self.root.execute(RequestId(u128::from(id)), command).await
    }

    async fn ok(&self, command: Ddl) {
        self.run(command).await.unwrap();
    }

    async fn refused(&self, command: Ddl) -> (Code, String) {
        let error = self.run(command).await.unwrap_err();
        (error.code(), error.to_string())
    }

    fn read<T>(&self, look: impl FnOnce(&Metadata) -> T) -> T {
        self.world.view.read(look)
    }

    fn collection(&self, name: &str) -> Option<redkite_catalog::CollectionRecord> {
        let id = redkite_catalog::DEFAULT_DATABASE_ID;
        self.read(|metadata| metadata.collection(id, name).map(|entry| (*entry.record).clone()))
    }
}

#[tokio::test]
async fn the_same_collection_may_be_created_twice_but_no_other_of_its_name() {
    let client = Client::start().await;
    client.ok(create("c")).await;
    let first = client.collection("c").unwrap();
    client.ok(create("c")).await;
    assert_eq!(client.collection("c").unwrap(), first);
    let Ddl::CreateCollection(mut other) = create("c") else { unreachable!() };
    other.shards = 1;
    let (code, message) = client.refused(Ddl::CreateCollection(other)).await;
    assert_eq!(code, Code::InvalidParameter);
    assert_eq!(message, "create duplicate collection with different parameters, collection: c");
}

#[tokio::test]
async fn dropping_leaves_a_note_and_is_repeatable() {
    let client = Client::start().await;
    client.ok(drop_collection("missing")).await;
    client.ok(create("c")).await;
    let id = client.collection("c").unwrap().id;
    client.ok(drop_collection("c")).await;
    client.ok(drop_collection("c")).await;
    assert!(client.collection("c").is_none());
    client.read(|metadata| {
        assert_eq!(metadata.dropped[&id].shards, 2);
        assert!(metadata.names.is_empty());
    });
    client.ok(create("c")).await;
    assert_ne!(client.collection("c").unwrap().id, id);
}

#[tokio::test]
async fn databases() {
    let client = Client::start().await;
    client.ok(database("d")).await;
    assert_eq!(client.refused(database("d")).await.1, "database already exist: d");
    client.ok(create("c")).await;
    client.ok(rename("c", "d", "e")).await;
    assert!(client.collection("c").is_none());
    let drop = |name: &str| Ddl::DropDatabase { name: name.to_owned() };
    let (code, message) = client.refused(drop("d")).await;
    assert_eq!(code, Code::InvalidParameter);
    assert_eq!(message, "database:d not empty, must drop all collections before drop database");
    assert_eq!(client.refused(drop("default")).await.1, "can not drop default database");
    client.ok(Ddl::DropCollection { database: "d".to_owned(), collection: "e".to_owned() }).await;
    client.ok(drop("d")).await;
    client.ok(drop("d")).await;
    let (code, message) = client.refused(rename("c", "d", "e")).await;
    assert_eq!((code, message.as_str()), (Code::DatabaseNotFound, "database not found[database=d]"));
}

#[tokio::test]
async fn aliases() {
    let client = Client::start().await;
    client.ok(create("c")).await;
    client.ok(create("d")).await;
    client.ok(create_alias("c", "a")).await;
    client.ok(create_alias("c", "a")).await;
    let (code, message) = client.refused(create_alias("d", "a")).await;
    assert_eq!(code, Code::AliasExists);
    assert!(message.starts_with("a is alias to another collection: c"), "{message}");
    let (code, message) = client.refused(create_alias("d", "c")).await;
    assert_eq!(code, Code::AliasCollectionConflict);
    assert_eq!(message, "alias and collection name conflict[database=default][alias=c]");
    assert_eq!(client.refused(create("a")).await.0, Code::AliasCollectionConflict);
    let missing = client.refused(create_alias("x", "b")).await.1;
    assert_eq!(missing, "collection not found[database=default][collection=x]");
    assert_eq!(client.refused(alter_alias("x", "a")).await.1, "collection not found[collection=x]");
    let (code, message) = client.refused(alter_alias("c", "b")).await;
    assert_eq!(code, Code::AliasNotFound);
    assert_eq!(message, "alias not found[database=default][alias=b]");
    assert_eq!(client.refused(drop_collection("a")).await.1, "cannot drop the collection via alias = a");
    let message = client.refused(drop_collection("c")).await.1;
    assert!(message.starts_with("unable to drop the collection [c] because it has associated aliases [a]"));
    client.ok(alter_alias("d", "a")).await;
    assert_eq!(client.collection("a").unwrap().name, "d");
    let drop = |alias: &str| Ddl::DropAlias { database: String::new(), alias: alias.to_owned() };
    client.ok(drop("a")).await;
    client.ok(drop("a")).await;
    client.ok(drop("c")).await;
    assert!(client.collection("c").is_some(), "a collection's own name is no alias");
}

#[tokio::test]
async fn renames() {
    let client = Client::start().await;
    client.ok(create("c")).await;
    client.ok(create("taken")).await;
    client.ok(create_alias("c", "a")).await;
    client.ok(database("d")).await;
    assert_eq!(client.refused(rename("c", "", "a")).await.0, Code::AliasCollectionConflict);
    assert_eq!(
        client.refused(rename("c", "", "taken")).await.1,
        "duplicated new collection name default:taken with other collection name or alias"
    );
    assert_eq!(
        client.refused(rename("a", "", "x")).await.1,
        "unsupported use an alias to rename collection, alias:a"
    );
    assert_eq!(client.refused(rename("x", "", "y")).await.0, Code::CollectionNotFound);
    assert_eq!(
        client.refused(rename("c", "d", "c")).await.1,
        "fail to rename db name, must drop all aliases of this collection before rename"
    );
    client.ok(rename("c", "", "e")).await;
    assert_eq!(client.collection("a").unwrap().name, "e");
    assert!(client.collection("c").is_none());
}

#[tokio::test]
async fn partitions() {
    let client = Client::start().await;
    client.ok(create("c")).await;
    client.ok(partition("p", true)).await;
    client.ok(partition("p", true)).await;
    assert_eq!(client.collection("c").unwrap().partitions.len(), 2);
    assert_eq!(client.refused(partition("_default", false)).await.1, "default partition cannot be deleted");
    let record = client.collection("c").unwrap();
    let mut load = LoadRecord {
        scope: LoadScope::Collection,
        replicas: 1,
        requested_at: Timestamp::ZERO,
        loaded: record.partitions.iter().map(|partition| partition.id).collect(),
    };
    client.world.put(&record.id, &load).await;
    let (code, message) = client.refused(partition("p", false)).await;
    assert_eq!(code, Code::InvalidParameter);
    assert_eq!(message, "partition cannot be dropped, partition is loaded, please release it first");
    client.ok(partition("q", true)).await;
    let new = client.collection("c").unwrap().partition("q").unwrap().id;
    client.read(|metadata| assert!(metadata.loads[&record.id].loaded.contains(&new)));
    load.scope = LoadScope::Partitions([record.partitions[0].id].into());
    client.world.put(&record.id, &load).await;
    client.ok(partition("p", false)).await;
    client.ok(partition("p", false)).await;
    assert!(client.collection("c").unwrap().partition("p").is_none());
}

#[tokio::test]
async fn limits() {
    let settings = RootSettings {
        max_database_num: 2,
        max_collection_num: 3,
        max_partition_num: 3,
        max_general_capacity: 7,
    };
    let client = Client::with(settings).await;
    client.ok(database("d")).await;
    assert_eq!(client.refused(database("e")).await.0, Code::DatabaseNumLimit);
    client.ok(create("c")).await;
    client.ok(create("d")).await;
    client.ok(create("e")).await;
    assert_eq!(client.refused(create("f")).await.0, Code::CollectionNumLimit);
    assert_eq!(client.refused(partition("p", true)).await.0, Code::GeneralCapacityExceeded);
    client.ok(drop_collection("d")).await;
    client.ok(drop_collection("e")).await;
    client.ok(partition("p", true)).await;
    client.ok(partition("q", true)).await;
    let (code, message) = client.refused(partition("r", true)).await;
    assert_eq!(code, Code::InvalidParameter);
    assert_eq!(message, "partition number (3) exceeds max configuration (3), collection: c");
}

#[tokio::test]
async fn settings_and_fields_change() {
    let client = Client::start().await;
    client.ok(create("c")).await;
    let first = client.collection("c").unwrap();
    client.ok(alter(&[("collection.ttl.seconds", "60")], &[])).await;
    let second = client.collection("c").unwrap();
    assert!(second.updated_at > first.updated_at);
    assert_eq!(second.schema.version, 0);
    client.ok(alter(&[("collection.ttl.seconds", "60")], &[])).await;
    assert_eq!(client.collection("c").unwrap(), second, "no change, no new version");
    client.ok(alter(&[], &["collection.ttl.seconds"])).await;
    client.ok(alter(&[("collection.description", "text"), ("consistency_level", "Strong")], &[])).await;
    let third = client.collection("c").unwrap();
    assert!(third.properties.is_empty());
    assert_eq!((third.schema.description.as_str(), third.consistency), ("text", ConsistencyLevel::Strong));
    client.ok(alter(&[("dynamicfield.enabled", "true")], &[])).await;
    assert_eq!(client.collection("c").unwrap().schema.dynamic_field().unwrap().id, FieldId(102));

    let add = |nullable: bool| {
        let field = redkite_types::FieldSchema { nullable, ..field(0, "text", DataType::VarChar) };
        Ddl::AddField {
            database: String::new(),
            collection: "c".to_owned(),
            field: Box::new(NewField { field }),
        }
    };
    assert_eq!(
        client.refused(add(false)).await.1,
        "added field must be nullable, please check it, field name = text"
    );
    client.ok(add(true)).await;
    assert_eq!(client.refused(add(true)).await.1, "field already exists, name: text");
    let fields = client.collection("c").unwrap().schema;
    let order: Vec<_> = fields.fields.iter().map(|field| (field.name.as_str(), field.id.0)).collect();
    assert_eq!(order, [("id", 100), ("vector", 101), ("text", 103), ("$meta", 102)]);
    assert_eq!(fields.version, 2);

    let alter_field = |field: &str, length: &str| Ddl::AlterField {
        database: String::new(),
        collection: "c".to_owned(),
        field: field.to_owned(),
        set: [("max_length".to_owned(), length.to_owned())].into(),
        delete: Vec::new(),
    };
    client.ok(alter_field("text", "128")).await;
    let schema = client.collection("c").unwrap().schema;
    assert_eq!((schema.version, schema.field("text").unwrap().max_length), (3, 128));
    assert_eq!(client.refused(alter_field("text", "70000")).await.0, Code::InvalidParameter);
    assert_eq!(client.refused(alter_field("id", "10")).await.0, Code::InvalidParameter);
    assert_eq!(client.refused(alter_field("none", "10")).await.0, Code::FieldNotFound);
}

#[tokio::test]
async fn a_repeated_command_is_answered_as_the_first_time() {
    let client = Client::start().await;
    let id = RequestId(u128::MAX);
    let first = client.root.execute(id, create("c")).await.unwrap();
    client.ok(drop_collection("c")).await;
    let environment = client.world.environment();
    let next = RootCoordinator::start(environment, RootSettings::default()).await.unwrap();
    let again = next.execute(id, create("c")).await.unwrap();
    assert_eq!(again, first);
    assert!(client.collection("c").is_none(), "it was not carried out again");
    let noop = RequestId(7);
    next.execute(noop, drop_collection("c")).await.unwrap();
    next.execute(RequestId(8), create("c")).await.unwrap();
    next.execute(noop, drop_collection("c")).await.unwrap();
    assert!(client.collection("c").is_some(), "also what had nothing to do is not repeated");
}

#[tokio::test]
async fn old_request_ids_are_forgotten() {
    let client = Client::start().await;
    for index in 0..20 {
        client.ok(create(&format!("c{index}"))).await;
    }
    client.world.clock.set(1_000_000 + 700_000);
    for index in 0..20 {
        client.ok(drop_collection(&format!("c{index}"))).await;
    }
    let left = redkite_cluster::Kv::range(&*client.world.kv, "request/").await.unwrap().entries.len();
    assert_eq!(left, 20);
}

#[tokio::test]
async fn concurrent_commands_leave_one_winner() {
    let client = Client::start().await;
    let creates = (0..8_u16).map(|index| {
        let Ddl::CreateCollection(mut new) = create("c") else { unreachable!() };
        new.shards = index + 1;
        client.run(Ddl::CreateCollection(new))
    });
    let outcomes = join_all(creates).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    let aliases = ["c", "d"].map(|name| client.run(create_alias(name, "a")));
    client.ok(create("d")).await;
    join_all(aliases).await;
    client.read(|metadata| {
        let all = metadata.names.values().filter(|name| matches!(*name.record, NameRecord::Alias(_)));
        assert_eq!(all.count(), 1);
    });
}

#[tokio::test]
async fn the_metastore_refuses_a_deposed_coordinator() {
    let world = World::start().await;
    let (environment, _) = world.mortal(1);
    let root = RootCoordinator::start(environment, RootSettings::default()).await.unwrap();
    let error = root.execute(RequestId(1), create("c")).await.unwrap_err();
    assert!(matches!(error, Error::Fenced { .. }), "{error}");
    assert_eq!(error.retry(), redkite_service::Retry::Yes);
}

fn command() -> impl Strategy<Value = Ddl> {
    let name = || prop::sample::select(vec!["a", "b", "c"]);
    prop_oneof![
        4 => name().prop_map(create),
        2 => name().prop_map(drop_collection),
        2 => (name(), name()).prop_map(|(collection, alias)| create_alias(collection, alias)),
        1 => (name(), name()).prop_map(|(collection, alias)| alter_alias(collection, alias)),
        1 => name().prop_map(|alias| Ddl::DropAlias { database: String::new(), alias: alias.to_owned() }),
        2 => (name(), name()).prop_map(|(from, to)| rename(from, "", to)),
        1 => (name(), name()).prop_map(|(from, to)| rename(from, "d", to)),
        1 => Just(database("d")),
        1 => Just(Ddl::DropDatabase { name: "d".to_owned() }),
        2 => (name(), any::<bool>()).prop_map(|(name, create)| partition(name, create)),
    ]
}

proptest! {
    /// Names and collections always fit each other, planning a command again on its result changes
    /// nothing or is refused, and no command needs more than one transaction.
    #[test]
    fn names_stay_consistent(commands in prop::collection::vec(command(), 0..60)) {
        use crate::command::Draft;
        use crate::environment::IdPool;

        let mut records = crate::testing::Records::default();
        records.put(&redkite_catalog::DEFAULT_DATABASE_ID, &redkite_catalog::DatabaseRecord {
            id: redkite_catalog::DEFAULT_DATABASE_ID,
            name: "default".to_owned(),
            properties: Properties::new(),
            created_at: Timestamp::ZERO,
        });
        let settings = RootSettings::default();
        let mut ids = IdPool::new(10, 10_000);
        for (index, command) in commands.iter().enumerate() {
            let now = Timestamp(index as u64 + 1);
            let mut plan = |records: &crate::testing::Records| {
                ddl::plan(&mut Draft { metadata: &records.metadata, ids: &mut ids, now }, &settings, command)
            };
            let Ok(step) = plan(&records) else { continue };
            prop_assert!(records.apply(&step.txn));
            if let Ok(again) = plan(&records) {
                prop_assert!(again.is_empty(), "{command:?} again: {again:?}");
            }
            check_names(&records.metadata)?;
        }
    }
}

fn check_names(metadata: &Metadata) -> std::result::Result<(), TestCaseError> {
    for ((database, name), entry) in &metadata.names {
        let collection = metadata.collections.get(&entry.collection());
        prop_assert!(collection.is_some(), "{name} stands for nothing");
        let collection = collection.unwrap();
        prop_assert_eq!(collection.database, *database);
        let own = matches!(*entry.record, NameRecord::Collection(_));
        prop_assert_eq!(own, collection.name == *name);
        prop_assert!(metadata.databases.contains_key(database));
    }
    for collection in metadata.collections.values() {
        let name = metadata.names.get(&(collection.database, collection.name.clone()));
        prop_assert_eq!(name.map(|name| &*name.record), Some(&NameRecord::Collection(collection.id)));
    }
    Ok(())
}
