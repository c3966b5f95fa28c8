//! Driven worlds: acts at random do no harm, and reach what the acts are for.

use sim::{Act, CHOICES, Report, Violation, World};

/// What mostly happens where a market is.
const USUAL: [Act; 10] = [
    Act::Happen,
    Act::Happen,
    Act::ReadFeed,
    Act::Deliver,
    Act::AnswerAll,
    Act::SweepAll,
    Act::ReadAll,
    Act::Read,
    Act::Subscribe,
    Act::Connect,
];

/// Numbers that look random, from a seed.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

fn choices(state: &mut u64) -> [u8; CHOICES] {
    [(); CHOICES].map(|()| next(state) as u8)
}

/// Plays acts at random: each world has its own few, so that they come often enough to matter.
fn play(seed: u64) -> Result<Report, Violation> {
    let mut state = seed;
    let mut world = World::driven(choices(&mut state));
    let favourites = [(); 12].map(|()| Act::ALL[next(&mut state) as usize % Act::ALL.len()]);
    for _ in 0..300 {
        let from = [&Act::ALL[..], &favourites, &USUAL, &USUAL][next(&mut state) as usize % 4];
        let act = from[next(&mut state) as usize % from.len()];
        world.act(act, choices(&mut state), &mut |_| {})?;
    }
    world.end(&mut |_| {})
}

#[test]
fn acts_at_random_leave_everybody_with_the_truth() {
    let mut sum = Report::default();
    for seed in 0..std::env::var("N").map_or(400, |n| n.parse().unwrap()) {
        match play(seed) {
            Ok(report) => sum.add(&report),
            Err(violation) => panic!("seed {seed}: {violation}"),
        }
    }
    println!("{sum:?}");
    assert!(sum.messages > 10_000 && sum.merged > 100 && sum.resumed > 10 && sum.lies > 10, "{sum:?}");
}

#[test]
fn the_same_acts_give_the_same_trace() {
    assert_eq!(play(7), play(7));
}

#[test]
fn zz_explain() {
    let Ok(seed) = std::env::var("E") else { return };
    let mut state = seed.parse().unwrap();
    let mut show = |sent: sim::Sent<'_>| {
        println!(
            "   {} #{} {} {}",
            sent.step,
            sent.connection_id,
            sent.opcode,
            String::from_utf8_lossy(sent.payload).trim_end()
        )
    };
    let mut world = World::driven(choices(&mut state));
    let favourites = [(); 12].map(|()| Act::ALL[next(&mut state) as usize % Act::ALL.len()]);
    for _ in 0..300 {
        let from = [&Act::ALL[..], &favourites, &USUAL, &USUAL][next(&mut state) as usize % 4];
        let act = from[next(&mut state) as usize % from.len()];
        let c = choices(&mut state);
        println!("{act:?} {c:?}");
        if let Err(v) = world.act(act, c, &mut show) {
            println!("{v}");
            return;
        }
    }
    println!("END");
    println!("{:?}", world.end(&mut show).map_err(|v| v.to_string()));
}
