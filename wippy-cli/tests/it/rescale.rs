//! A host takes another size while processes run on it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use wippy_cli::App;
use wippy_security::{CallError, Ended, ErrorKind, Launched, Permit, Process, ProcessFuture, Spawn, Start};
use wippy_wit::Value;

use crate::{
    shell::project,
    stage::{Stage, id},
};

/// `app:size` gives `app:host` so many workers and places.
const INDEX: &str = r#"namespace: app
entries:
  - { name: host, kind: process.host, host: { workers: 1, max_processes: 4 } }
  - name: size
    kind: function.lua
    modules: [registry]
    method: run
    source: |
      local registry = require("registry")
      return { run = function(workers, places)
        local data = {}
        if workers or places then data.host = { workers = workers, max_processes = places } end
        local changes = registry.snapshot():changes()
        changes:update({ id = "app:host", kind = "process.host", data = data })
        local version, err = changes:apply()
        if err then return nil, err end
        return true
      end }
"#;

/// Notes how many of its kind are on a thread at the same time, and goes on until it is terminated.
#[derive(Default)]
struct Counting {
    now: AtomicUsize,
    most: AtomicUsize,
    turns: AtomicUsize,
}

impl Process for Counting {
    fn start(self: Arc<Self>, _: Permit, _: Start) -> ProcessFuture {
        Box::pin(async move {
            loop {
                let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
                self.most.fetch_max(now, Ordering::SeqCst);
                std::thread::sleep(Duration::from_micros(200));
                self.now.fetch_sub(1, Ordering::SeqCst);
                if self.turns.fetch_add(1, Ordering::SeqCst) == usize::MAX {
                    return Ok(Ended::Value(Value::Nil));
                }
                tokio::task::yield_now().await;
            }
        })
    }
}

impl Counting {
    /// The most at once within the next `turns` turns.
    async fn most_within(&self, turns: usize) -> usize {
        // Those that a former size let in have their turn first.
        self.pass(50).await;
        self.most.store(0, Ordering::SeqCst);
        self.pass(turns).await;
        self.most.load(Ordering::SeqCst)
    }

    async fn pass(&self, turns: usize) {
        let enough = self.turns.load(Ordering::SeqCst) + turns;
        while self.turns.load(Ordering::SeqCst) < enough {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

fn launch(app: &App) -> Result<Launched, CallError> {
    let spawn = Spawn::new(id("app:counting"), id("app:host"), Vec::new());
    let processes = app.dispatcher().processes();
    processes.launch(&app.context(), spawn, Vec::new())
}

#[test]
fn workers_and_places_change_while_processes_run() {
    let mut stage = Stage::new(project(INDEX));
    stage.runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .unwrap();
    stage.runtime.block_on(async {
        let (app, counting) = (&stage.app, Arc::<Counting>::default());
        app.dispatcher()
            .processes()
            .insert(id("app:counting"), counting.clone());
        let size = async |workers: Value, places: Value| {
            app.call(&id("app:size"), vec![workers, places]).await.unwrap();
        };
        let mut running: Vec<_> = (0..4).map(|_| launch(app).unwrap()).collect();
        assert_eq!(counting.most_within(200).await, 1);
        assert_eq!(launch(app).unwrap_err().kind(), ErrorKind::Unavailable);

        size(Value::Integer(3), Value::Integer(6)).await;
        running.extend((0..2).map(|_| launch(app).unwrap()));
        let error = launch(app).unwrap_err();
        assert_eq!(
            error.message(),
            "the host `app:host` has no room: `max_processes` is 6"
        );
        let most = counting.most_within(400).await;
        assert!((2..=3).contains(&most), "{most}");

        size(Value::Integer(1), Value::Integer(1)).await;
        assert_eq!(counting.most_within(200).await, 1);
        // Nobody is ended for want of room.
        assert_eq!(app.dispatcher().processes().len(), 6);
        assert!(launch(app).is_err());

        size(Value::Nil, Value::Nil).await;
        running.push(launch(app).unwrap());
        assert!(counting.most_within(400).await >= 2);
        for process in &running {
            process.terminate("enough");
        }
        for process in running {
            assert!(process.exit().await.is_abnormal());
        }
    });
}
