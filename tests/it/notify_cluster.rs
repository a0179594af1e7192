//! What running proxies are told of a repair through a Redis Cluster.

use crate::notify::{CHANNEL, FORGOTTEN, fix_and_tell, heard, warnings};
use crate::redis_server::{RedisCluster, until};

/// An entry of another key, which no repair here makes proxies forget.
const OTHER: &str = "object_permission_id:p-9";

/// Puts the entries where they belong in the cluster, as `enable_redis_auth_cache` does.
fn fill(cluster: &RedisCluster) {
    for key in FORGOTTEN.iter().chain([&OTHER]) {
        let set = format!("SET {key} kept");
        cluster.holder(key).tell::<()>(&set).unwrap();
    }
}

#[test]
fn workers_at_every_node_of_a_cluster_are_told_and_counted() {
    let Some(cluster) = RedisCluster::start("a cluster") else {
        return;
    };
    let [first, .., replica] = &cluster.nodes[..] else {
        panic!("four nodes");
    };
    // A node of which nobody knows hears nothing, and one that does not answer is passed over.
    let elsewhere = format!("redis://127.0.0.1:1,127.0.0.1:{}", first.port);
    let ran = fix_and_tell(&elsewhere).says("no proxy listens on this Redis");
    assert_eq!(warnings(&ran).len(), 1, "{ran}");
    let told = [cluster.nodes[1].listen(CHANNEL), replica.listen(CHANNEL)];
    for url in [
        first.url(),
        replica.url(),
        cluster.nodes[2].url(),
        elsewhere,
    ] {
        fill(&cluster);
        let ran = fix_and_tell(&url).says("told 2 proxy workers to forget 5 cache entries");
        assert_eq!(warnings(&ran), [""; 0], "{url}");
        for told in &told {
            assert_eq!(heard(told), FORGOTTEN, "{url}");
        }
        assert_eq!(cluster.keys(), [OTHER], "{url}");
    }
    let ran = fix_and_tell(&format!("redis://127.0.0.1:{}/1", first.port));
    ran.says("could not be told by Redis")
        .says("leave the number out of the URL");
}

#[test]
fn an_entry_is_followed_while_its_slot_moves_to_another_node() {
    let Some(cluster) = RedisCluster::start("a cluster that is resharded") else {
        return;
    };
    let key = FORGOTTEN[1];
    let slot: u16 = cluster.nodes[0]
        .tell(&format!("CLUSTER KEYSLOT {key}"))
        .unwrap();
    let from = cluster.holder(key);
    let to = cluster.nodes[..3]
        .iter()
        .find(|node| node.port != from.port)
        .unwrap();
    let id = |node: &crate::redis_server::RedisServer| node.tell::<String>("CLUSTER MYID").unwrap();
    from.tell::<()>(&format!("SET {key} kept")).unwrap();
    to.tell::<()>(&format!("CLUSTER SETSLOT {slot} IMPORTING {}", id(from)))
        .unwrap();
    from.tell::<()>(&format!("CLUSTER SETSLOT {slot} MIGRATING {}", id(to)))
        .unwrap();
    from.tell::<()>(&format!("MIGRATE 127.0.0.1 {} {key} 0 1000", to.port))
        .unwrap();
    assert_eq!(cluster.keys(), [key]);
    let ran = fix_and_tell(&from.url());
    assert!(!ran.to_string().contains("still in Redis"), "{ran}");
    assert_eq!(cluster.keys(), [""; 0]);
}

#[test]
fn a_node_that_is_down_is_one_warning_and_the_others_are_told() {
    let Some(mut cluster) = RedisCluster::start("a cluster with a dead node") else {
        return;
    };
    let key = FORGOTTEN[1];
    let dead = cluster.holder(key).port;
    fill(&cluster);
    let dead = cluster
        .nodes
        .iter()
        .position(|node| node.port == dead)
        .unwrap();
    cluster.nodes[dead].kill();
    let alive = &cluster.nodes[(dead + 1) % 3];
    let told = alive.listen(CHANNEL);
    let ran = fix_and_tell(&alive.url())
        .says("all proxies that listen on this Redis Cluster under this namespace were told")
        .says("but nobody could count them: ")
        .says("still in Redis, which matters with enable_redis_auth_cache: ");
    assert_eq!(warnings(&ran).len(), 2, "{ran}");
    for no_word in ["no proxy listens", "MOVED", "Pipeline"] {
        assert!(!ran.to_string().contains(no_word), "{ran}");
    }
    assert_eq!(heard(&told), FORGOTTEN);
    // What is at the other nodes is deleted.
    for node in cluster.nodes[..3]
        .iter()
        .filter(|node| node.port != cluster.nodes[dead].port)
    {
        let keys: Vec<String> = node.tell("KEYS *").unwrap();
        assert!(keys.is_empty() || keys == [OTHER], "{keys:?}");
    }
}

#[test]
fn a_user_who_may_not_ask_for_listeners_still_tells_them() {
    let Some(cluster) = RedisCluster::start("a cluster with users") else {
        return;
    };
    let rules = "on >s3cret +publish +del ~* &*";
    for node in &cluster.nodes {
        node.tell::<()>(&format!("ACL SETUSER herald {rules}"))
            .unwrap();
    }
    let told = cluster.nodes[1].listen(CHANNEL);
    fill(&cluster);
    let url = format!("redis://herald:s3cret@127.0.0.1:{}", cluster.nodes[0].port);
    let ran = fix_and_tell(&url)
        .says("but nobody could count them: ")
        .says("NOPERM");
    assert_eq!(warnings(&ran).len(), 1, "{ran}");
    assert_eq!(heard(&told), FORGOTTEN);
    until("the entries are gone", || cluster.keys() == [OTHER]);
}
