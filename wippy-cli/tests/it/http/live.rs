//! Routes that change while requests are under way.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use super::site::{Client, Site, index, script};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_changed_a_hundred_times_under_load_fails_no_request() {
    let one = script("one", "GET /now", "res:write('one')");
    let two = script("two", "GET /later", "res:write('two')");
    let first = Site::new(&index("", &(one.clone() + &two))).await;
    let swapped = (one + &two)
        .replace("path: /now", "path: /x")
        .replace("path: /later", "path: /now");
    let second = Site::new(&index("", &swapped)).await;
    let routes = [
        first.app.routes(first.server().id()),
        second.app.routes(second.server().id()),
    ];

    let (done, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let address = first.address();
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (done, served) = (done.clone(), served.clone());
            tokio::spawn(async move {
                let mut client = Client::connect(address).await;
                let mut seen = [0, 0];
                while !done.load(Ordering::Relaxed) {
                    client.send("GET /now HTTP/1.1", "").await;
                    let reply = client.reply(false).await;
                    assert_eq!(reply.status, 200, "{}", reply.text());
                    seen[usize::from(reply.text() == "two")] += 1;
                    served.fetch_add(1, Ordering::Relaxed);
                }
                seen
            })
        })
        .collect();
    for change in 1..=100 {
        // Some requests between two changes.
        let enough = served.load(Ordering::Relaxed) + 5;
        while served.load(Ordering::Relaxed) < enough {
            tokio::task::yield_now().await;
        }
        first.server().set_routes(routes[change % 2].clone());
    }
    done.store(true, Ordering::Relaxed);
    let mut seen = [0, 0];
    for client in clients {
        let counts = client.await.unwrap();
        seen = [seen[0] + counts[0], seen[1] + counts[1]];
    }
    assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
}
