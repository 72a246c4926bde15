//! The contract of [`Kv`] as checks that every implementation runs in its tests.

use super::{Batch, Column, Kv, Pair, Range};

/// Checks everything of the contract that shows without a crash, on an empty store.
///
/// # Panics
///
/// At the first promise that `kv` does not keep.
pub async fn check<K: Kv>(kv: K) {
    a_batch_is_seen_whole_and_in_order(&kv);
    columns_are_apart(&kv);
    scans_keep_their_borders(&kv);
    a_deleted_range_excludes_its_end(&kv);
    clones_share_the_data(&kv);
    kv.sync().await.expect("a healthy disk syncs");
    kv.sync().await.expect("with nothing to do, too");
}

fn a_batch_is_seen_whole_and_in_order<K: Kv>(kv: &K) {
    let mut batch = Batch::default();
    batch.put(Column::Meta, b"a", b"first");
    batch.put(Column::Meta, b"a", b"second");
    batch.put(Column::Meta, b"b", b"gone");
    batch.delete(Column::Meta, b"b");
    batch.delete(Column::Meta, b"never there");
    batch.put(Column::Log, b"a", b"");
    kv.write(batch).expect("a healthy disk writes");
    assert_eq!(kv.get(Column::Meta, b"a").expect("reads"), Some(b"second".to_vec()));
    assert_eq!(kv.get(Column::Meta, b"b").expect("reads"), None);
    assert_eq!(kv.get(Column::Log, b"a").expect("reads"), Some(Vec::new()));
}

fn columns_are_apart<K: Kv>(kv: &K) {
    assert_eq!(kv.get(Column::Records, b"a").expect("reads"), None);
    assert_eq!(scan(kv, Column::Records, &Range::all()), []);
}

fn scans_keep_their_borders<K: Kv>(kv: &K) {
    let mut batch = Batch::default();
    for key in [b"\xff".as_slice(), b"\x00", b"\x01\x00", b"\x01", b"\x02"] {
        batch.put(Column::Records, key, key);
    }
    kv.write(batch).expect("a healthy disk writes");
    let range =
        |from: &[u8], to: Option<&[u8]>, limit| Range { from: from.to_vec(), to: to.map(<[u8]>::to_vec), limit };
    assert_eq!(scan(kv, Column::Records, &Range::all()), pairs(&[b"\x00", b"\x01", b"\x01\x00", b"\x02", b"\xff"]));
    assert_eq!(scan(kv, Column::Records, &range(b"\x01", Some(b"\x02"), 9)), pairs(&[b"\x01", b"\x01\x00"]));
    assert_eq!(scan(kv, Column::Records, &range(b"\x01\x00", None, 2)), pairs(&[b"\x01\x00", b"\x02"]));
    assert_eq!(scan(kv, Column::Records, &range(b"\x03", Some(b"\x04"), 9)), []);
}

fn a_deleted_range_excludes_its_end<K: Kv>(kv: &K) {
    let mut batch = Batch::default();
    batch.delete_range(Column::Records, b"\x01", b"\x02");
    kv.write(batch).expect("a healthy disk writes");
    assert_eq!(scan(kv, Column::Records, &Range::all()), pairs(&[b"\x00", b"\x02", b"\xff"]));
}

fn clones_share_the_data<K: Kv>(kv: &K) {
    let mut batch = Batch::default();
    batch.put(Column::Meta, b"shared", b"yes");
    kv.clone().write(batch).expect("a healthy disk writes");
    assert_eq!(kv.get(Column::Meta, b"shared").expect("reads"), Some(b"yes".to_vec()));
}

fn scan<K: Kv>(kv: &K, column: Column, range: &Range) -> Vec<Pair> {
    kv.scan(column, range).expect("a healthy disk reads")
}

fn pairs(keys: &[&[u8]]) -> Vec<Pair> {
    keys.iter().map(|key| (key.to_vec(), key.to_vec())).collect()
}
