//! Cases of the run's state machine: every refused call, and random walks.

use model::ObjectKey;
use model::part::PartId;
use model::ports::{Lease, LedgerError};
use model::run::{Intent, RunState};

use super::{Rig, at, incremental, manifest, part, plan, receipt, refused, workspace};

/// The calls that a walk chooses from.
const CALLS: [&str; 11] = [
    "add_parts",
    "clear_parts",
    "planned",
    "intend",
    "finish_0",
    "finish_1",
    "freeze",
    "sealed",
    "fail",
    "cancel",
    "renew",
];

async fn call(rig: &Rig, lease: &Lease, name: &str) -> Result<(), LedgerError> {
    let ledger = &rig.ledger;
    let intent = Intent { epoch: lease.epoch, key: ObjectKey::new("k"), token: "t".into() };
    match name {
        "add_parts" => ledger.add_parts(lease, &[part(0, 5), part(1, 7)]).await,
        "clear_parts" => ledger.clear_parts(lease).await,
        "planned" => ledger.planned(lease, &plan(2, 12)).await,
        "intend" => ledger.intend(lease, PartId::planned(0), &intent).await,
        "finish_0" => ledger.finish_part(lease, PartId::planned(0), &receipt(5), None).await,
        "finish_1" => ledger.finish_part(lease, PartId::planned(1), &receipt(7), None).await,
        "freeze" => ledger.freeze(lease, &manifest(12, 2)).await,
        "sealed" => ledger.sealed(lease, at(9)).await,
        "fail" => ledger.end(lease, RunState::Failed, "reason", at(9)).await,
        "cancel" => ledger.end(lease, RunState::Cancelled, "reason", at(9)).await,
        "renew" => ledger.renew(lease).await.map(drop),
        other => panic!("no call `{other}`"),
    }
}

/// The calls that a state allows, exact repeats of the step that led to it included.
fn allowed(state: RunState) -> &'static [&'static str] {
    match state {
        RunState::Planning => &["add_parts", "clear_parts", "planned", "fail", "cancel", "renew"],
        RunState::Running => {
            &["planned", "intend", "finish_0", "finish_1", "freeze", "fail", "cancel", "renew"]
        }
        RunState::Sealing => &["intend", "freeze", "sealed", "renew"],
        RunState::Sealed => &["sealed"],
        RunState::Failed => &["fail"],
        RunState::Cancelled => &["cancel"],
    }
}

pub async fn every_refused_transition(rig: &Rig) {
    for state in RunState::ALL {
        let lease = rig.run_in(&format!("in_{}", state.as_str()), state).await;
        let before = rig.ledger.run(&workspace(), &lease.run).await.unwrap();
        for name in CALLS.iter().filter(|name| !allowed(state).contains(name)) {
            let result = call(rig, &lease, name).await;
            assert!(
                matches!(&result, Err(LedgerError::State { state: s, .. }) if *s == state),
                "{name} in {state:?}: {result:?}"
            );
        }
        for wrong in [RunState::Planning, RunState::Running, RunState::Sealing, RunState::Sealed] {
            let ended = rig.ledger.end(&lease, wrong, "reason", at(9)).await;
            refused!(ended, LedgerError::State { .. });
        }
        assert_eq!(rig.ledger.run(&workspace(), &lease.run).await.unwrap(), before);
    }
}

/// Walks at random: whatever is called, a step is one that the model allows, an allowed call is never
/// refused for the state, and a final state is never left.
pub async fn random_calls_stay_in_the_machine(rig: &Rig) {
    const SEEDS: u64 = 24;
    const CALLS_EACH: usize = 30;
    let mut ends = std::collections::BTreeSet::new();
    for seed in 1..=SEEDS {
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let lease = rig.open(&incremental(&format!("seed_{seed}"))).await.lease;
        let mut state = RunState::Planning;
        for _ in 0..CALLS_EACH {
            let name = choose(&mut random, state);
            let result = call(rig, &lease, name).await;
            let next = rig.state(&lease).await;
            let told = format!("seed {seed}: {name} in {state:?} gave {result:?}, now {next:?}");
            assert!(next == state || state.may_become(next), "{told}");
            let refused_for_state = matches!(result, Err(LedgerError::State { .. }));
            assert_eq!(refused_for_state, !allowed(state).contains(&name), "{told}");
            assert!(result.is_ok() || next == state, "{told}");
            state = next;
        }
        ends.insert(state.as_str());
    }
    assert!(ends.contains("sealed") && ends.contains("failed"), "walks too short: {ends:?}");
}

/// Chooses mostly from what leads on, so that walks get far.
fn choose(random: &mut u64, state: RunState) -> &'static str {
    let mut next = |below: usize| {
        *random ^= *random << 13;
        *random ^= *random >> 7;
        *random ^= *random << 17;
        usize::try_from(*random % below as u64).unwrap()
    };
    let onward: &[&str] = match state {
        RunState::Planning => &["add_parts", "planned"],
        RunState::Running => &["finish_0", "finish_1", "freeze"],
        _ => &["sealed"],
    };
    match next(10) {
        0..=5 => onward[next(onward.len())],
        6..=7 => allowed(state)[next(allowed(state).len())],
        _ => CALLS[next(CALLS.len())],
    }
}
