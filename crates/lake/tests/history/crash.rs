//! Every kind of upkeep, stopped at every step, then done again.

use crate::dice::Dice;
use crate::objects::Stop;
use crate::world::World;

/// Steps at which a kind of upkeep is stopped at most; none of them takes as many.
const STEPS_MAX: i64 = 60;

/// What is done.
#[derive(Clone, Copy, Debug)]
enum Upkeep {
    Seal,
    Compact,
    Revert,
    Expire,
    Sweep,
    Replace,
}

impl Upkeep {
    const ALL: [Self; 6] =
        [Self::Seal, Self::Compact, Self::Revert, Self::Expire, Self::Sweep, Self::Replace];

    async fn act(self, world: &mut World, dice: &mut Dice) {
        match self {
            Self::Seal => world.tend_after(100).await,
            Self::Compact => world.compact().await,
            Self::Revert => world.revert(dice).await,
            Self::Expire => world.expire(dice).await,
            Self::Sweep => world.sweep_after(24 * 8).await,
            Self::Replace => world.replace(dice).await,
        }
    }
}

/// Stops each kind of upkeep at each of its steps, in two ways; afterwards it is done again, and nothing is
/// lost, doubled or left behind.
pub(crate) async fn everywhere(url: &str) {
    for upkeep in Upkeep::ALL {
        // All rows go to the tail, or none; every second time they have a time of their own.
        let mut seed = 900_000 + 1000 * upkeep as u64;
        seed -= seed % 3;
        seed += if matches!(upkeep, Upkeep::Replace) { 2 } else { 0 };
        for stop in [Stop::Cut, Stop::Full] {
            let mut stopped = 0;
            for step in 0..STEPS_MAX {
                seed += 3;
                if !one(url, (seed, upkeep), stop, step).await {
                    break;
                }
                stopped += 1;
            }
            assert!((1..STEPS_MAX).contains(&stopped), "{upkeep:?} {stop:?}: {stopped} steps");
        }
    }
}

/// Returns whether the upkeep was stopped.
async fn one(url: &str, (seed, upkeep): (u64, Upkeep), stop: Stop, after: i64) -> bool {
    // The same story each time, up to the step.
    let mut dice = Dice::new(7);
    let mut world = World::open(url, seed).await;
    for _ in 0..3 {
        world.add(&mut dice).await;
        world.compact().await;
        world.add(&mut dice).await;
    }
    world.stop_after(stop, after);
    upkeep.act(&mut world, &mut Dice::new(7)).await;
    let was_stopped = world.heal();
    world.check(&mut dice).await;
    upkeep.act(&mut world, &mut Dice::new(7)).await;
    world.check_all().await;
    was_stopped
}
