//! What tests may rely on when they start a cluster.

use switchboard_testkit::{Cluster, Reply, Server};

#[tokio::test]
async fn a_cluster_serves_all_slots_and_names_its_nodes() {
    let cluster = Cluster::start().await.unwrap();
    let [a, b, c] = cluster.nodes.each_ref().map(Server::port);
    let url = format!("redis-cluster://127.0.0.1:{a}?node=127.0.0.1:{b}&node=127.0.0.1:{c}");
    assert_eq!(cluster.url(), url);
    for (slot, owner) in [(0, 0), (5_460, 0), (5_461, 1), (10_922, 1), (10_923, 2), (16_383, 2)] {
        assert_eq!(cluster.owner_of(slot).await.unwrap(), owner, "slot {slot}");
    }
}

#[tokio::test]
async fn a_slot_moves_with_its_keys() {
    let cluster = Cluster::start().await.unwrap();
    let slot = cluster.slot_of("{room}").await.unwrap();
    let from = cluster.owner_of(slot).await.unwrap();
    let to = (from + 1) % 3;
    for number in 0..250 {
        cluster.nodes[from].command(&["SET", &format!("{{room}}:{number}"), "kept"]).await.unwrap();
    }

    cluster.begin_move(slot, to).await.unwrap();
    let asked = cluster.nodes[from].command(&["GET", "{room}:none"]).await.unwrap_err().to_string();
    assert!(asked.contains("ASK"), "{asked}");
    cluster.finish_move(slot, to).await.unwrap();

    assert_eq!(cluster.owner_of(slot).await.unwrap(), to);
    let moved = cluster.nodes[from].command(&["GET", "{room}:7"]).await.unwrap_err().to_string();
    assert!(moved.contains("MOVED"), "{moved}");
    let count = cluster.nodes[to].command(&["CLUSTER", "COUNTKEYSINSLOT", &slot.to_string()]).await;
    assert_eq!(count.unwrap(), Reply::Int(250));
    cluster.move_slot(slot, from).await.unwrap();
    assert_eq!(
        cluster.nodes[from].command(&["GET", "{room}:7"]).await.unwrap(),
        Reply::Bytes(b"kept".to_vec())
    );
}

#[tokio::test]
async fn a_killed_node_comes_back_with_its_slots_and_its_data() {
    let mut cluster = Cluster::start().await.unwrap();
    let slot = cluster.slot_of("greeting").await.unwrap();
    let owner = cluster.owner_of(slot).await.unwrap();
    cluster.nodes[owner].command(&["SET", "greeting", "hello"]).await.unwrap();
    cluster.nodes[owner].kill().await.unwrap();
    cluster.nodes[owner].restart().await.unwrap();
    cluster.complete().await.unwrap();
    let value = cluster.nodes[owner].command(&["GET", "greeting"]).await.unwrap();
    assert_eq!(value, Reply::Bytes(b"hello".to_vec()));
}
