//! Many processes of both kinds, and some that never give way: everybody answers, whoever computes can be ended.

use std::time::Duration;

use wippy_security::{Exit, Launched, Spawn};
use wippy_wit::Value;

use crate::{
    shell,
    stage::{Stage, id},
};

/// The processes that are measured, too.
const INDEX: &str = include_str!("../../benches/support/crowd.yaml");

fn stage() -> Stage {
    let project = tempfile::tempdir().unwrap();
    let guest = shell::guest(project.path(), "actor");
    let index = INDEX.replace("    {actor}\n", &guest);
    shell::write(project.path(), "src/_index.yaml", &index);
    let mut stage = Stage::new(project);
    stage.runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    stage
}

fn start(stage: &Stage, name: &str, arguments: Vec<Value>) -> Launched {
    let spawn = Spawn::new(id(name), id("bench:host"), arguments);
    let processes = stage.app.dispatcher().processes();
    processes.launch(&stage.app.context(), spawn, Vec::new()).unwrap()
}

/// A busy machine may be slow, but something that hangs does so for longer.
async fn end(process: Launched) -> Exit {
    tokio::time::timeout(Duration::from_mins(2), process.exit())
        .await
        .expect("it does not end")
}

/// Sends each a message, and waits until all have answered.
async fn ask(stage: &Stage, processes: &[Launched], topic: &str) {
    let pids = processes
        .iter()
        .map(|process| Value::from(process.pid().as_str()));
    let asked = start(stage, "bench:ask", vec![Value::array(pids), topic.into()]);
    let count = i64::try_from(processes.len()).unwrap();
    assert_eq!(*end(asked).await.as_ref().unwrap(), Value::Integer(count));
}

#[test]
fn everybody_answers_and_leaves_nothing_behind() {
    let stage = stage();
    stage.runtime.block_on(async {
        let kinds = [
            ("bench:echo", Vec::new(), "hello", 2000),
            ("bench:relay", vec![Value::from("asker")], "relayed", 200),
        ];
        for (name, arguments, topic, count) in kinds {
            let crowd: Vec<_> = (0..count)
                .map(|_| start(&stage, name, arguments.clone()))
                .collect();
            for some in crowd.chunks(500) {
                ask(&stage, some, topic).await;
            }
            for process in &crowd {
                process.terminate("enough");
            }
            for process in crowd {
                assert!(end(process).await.is_abnormal());
            }
        }
        let processes = stage.app.dispatcher().processes();
        let counts = processes.counts();
        assert!(processes.is_empty());
        assert_eq!((counts.started, counts.dropped), (counts.ended, 0));
    });
}

#[test]
fn eight_that_never_give_way_leave_two_threads_to_others() {
    let stage = stage();
    stage.runtime.block_on(async {
        let echoes: Vec<_> = (0..100)
            .map(|_| start(&stage, "bench:echo", Vec::new()))
            .collect();
        let loops: Vec<_> = (0..8)
            .map(|number| ["bench:loop", "bench:spin"][number % 2])
            .map(|name| start(&stage, name, Vec::new()))
            .collect();
        for some in echoes.chunks(20) {
            ask(&stage, some, "hello").await;
        }
        for one in loops {
            one.terminate("enough");
            assert!(end(one).await.is_abnormal());
        }
    });
}
