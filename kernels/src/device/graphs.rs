//! Which networks run as a captured graph, and which call by call.
//!
//! A graph holds the addresses and the shape of the run that it was captured of: were one of them not right any more, it would
//! answer wrongly and say nothing. So a graph is captured when its network is loaded, of a network that has one shape alone, and
//! serves only after its answers were those of the run call by call, to the bit. Whatever speaks against it is no fault: the
//! network runs call by call, and the reason is kept.
use super::DeviceError;
use std::cell::Cell;
use std::rc::Rc;

/// Most graphs of a lane: each has memory of its own for an input and an answer.
pub const MAX_GRAPHS: usize = 16;

/// Inputs on which a graph is compared, no two of them alike.
pub const TRIALS: u8 = 3;

/// A network on a lane, idle and loaded. Each call waits until its work is done.
pub(crate) trait Capture {
    /// What was captured.
    type Graph;

    /// The answer's bytes to a trial input, call by call.
    fn called(&mut self, trial: u8) -> Result<Vec<u8>, DeviceError>;

    /// Captures a run; nothing of it runs.
    fn capture(&mut self) -> Result<Self::Graph, DeviceError>;

    /// The answer's bytes to a trial input, by the graph.
    fn replayed(&mut self, graph: &mut Self::Graph, trial: u8) -> Result<Vec<u8>, DeviceError>;
}

/// How a network runs on a lane.
#[derive(Debug, PartialEq)]
pub(crate) enum Way<G> {
    /// By this graph, which holds its place.
    Replayed(G, Place),
    /// Call by call, and why.
    Called(String),
}

/// Decides how a network runs on a lane. The lanes of a network are decided one after another, and each is tried again by
/// [`confirmed`] when all are: a capture on one lane might have changed what the graph of another holds.
pub(crate) fn decided<C: Capture>(run: &mut C, shapes: usize, places: &Places) -> Result<Way<C::Graph>, DeviceError> {
    if shapes != 1 {
        return Ok(Way::Called("its input has more than one shape".into()));
    }
    let Some(place) = places.take() else {
        return Ok(Way::Called(format!("the lane has {MAX_GRAPHS} graphs already")));
    };
    // Before a capture a network must have run: TensorRT makes ready then.
    match run.called(0) {
        Ok(_) => {}
        Err(error @ DeviceError::OutOfMemory(_)) => return called(error, NO_ROOM),
        Err(error) => return Err(error),
    }
    let graph = match run.capture() {
        Ok(graph) => graph,
        Err(error) => return called(error, "it cannot be captured"),
    };
    confirmed(run, graph, place)
}

/// It has run before without graphs, so what lacks is the memory that these take.
const NO_ROOM: &str = "there is no room for a graph beside it";

/// Compares a graph with the run call by call, the two in turns.
pub(crate) fn confirmed<C: Capture>(
    run: &mut C,
    mut graph: C::Graph,
    place: Place,
) -> Result<Way<C::Graph>, DeviceError> {
    for trial in 0..TRIALS {
        let expected = match run.called(trial) {
            Ok(expected) => expected,
            Err(error @ DeviceError::OutOfMemory(_)) => return called(error, NO_ROOM),
            Err(error) => return Err(error),
        };
        match run.replayed(&mut graph, trial) {
            Ok(found) if found == expected => {}
            Ok(_) => return Ok(Way::Called("the graph answers otherwise than the run call by call".into())),
            Err(error) => return called(error, "the graph does not run"),
        }
    }
    Ok(Way::Replayed(graph, place))
}

/// What an error of a graph's means: only a device that is lost is a fault of the run.
pub(crate) fn called<G>(error: DeviceError, what: &str) -> Result<Way<G>, DeviceError> {
    match error {
        DeviceError::Lost(_) => Err(error),
        other => Ok(Way::Called(format!("{what}: {other}"))),
    }
}

/// How a network runs on each lane; call by call on one that is not known.
pub(crate) struct Ways<G>(Vec<Known<G>>);

struct Known<G> {
    lane: usize,
    way: Way<G>,
    /// Of the graph's memory.
    bytes: u64,
}

impl<G> Default for Ways<G> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<G> Ways<G> {
    /// How it runs on a lane from now on, and the bytes that a graph takes.
    pub(crate) fn set(&mut self, lane: usize, way: Way<G>, bytes: u64) {
        self.0.retain(|known| known.lane != lane);
        self.0.push(Known { lane, way, bytes });
    }

    /// The graph of a lane, to be set again or to be gone, and its bytes.
    pub(crate) fn take(&mut self, lane: usize) -> Option<(G, Place, u64)> {
        let is_this = |known: &Known<G>| known.lane == lane && matches!(known.way, Way::Replayed(..));
        let at = self.0.iter().position(is_this)?;
        let Known { way, bytes, .. } = self.0.swap_remove(at);
        match way {
            Way::Replayed(graph, place) => Some((graph, place, bytes)),
            Way::Called(_) => None,
        }
    }

    /// Gives up all graphs, for this reason. False where there is none.
    pub(crate) fn give_up(&mut self, why: &str) -> bool {
        let mut any = false;
        for known in &mut self.0 {
            if matches!(known.way, Way::Replayed(..)) {
                known.way = Way::Called(why.to_owned());
                any = true;
            }
        }
        any
    }

    /// Bytes of the graphs.
    pub(crate) fn bytes(&self) -> u64 {
        let graphs = self.0.iter().filter(|known| matches!(known.way, Way::Replayed(..)));
        graphs.map(|known| known.bytes).sum()
    }

    /// Why it runs call by call, for each lane where it does.
    pub(crate) fn reasons(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|known| match &known.way {
            Way::Called(why) => Some(why.as_str()),
            Way::Replayed(..) => None,
        })
    }
}

/// The places of a lane's graphs.
#[derive(Debug)]
pub(crate) struct Places(Rc<Cell<usize>>);

/// A graph's place; free again when this is dropped, as it is with the network.
#[derive(Debug)]
pub(crate) struct Place(Rc<Cell<usize>>);

impl Default for Places {
    fn default() -> Self {
        Self(Rc::new(Cell::new(MAX_GRAPHS)))
    }
}

impl Places {
    fn take(&self) -> Option<Place> {
        let left = self.0.get().checked_sub(1)?;
        self.0.set(left);
        Some(Place(Rc::clone(&self.0)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A network that answers with its input and how often its context was moved.
    #[derive(Default)]
    struct Host {
        moved: u8,
        calls: Vec<String>,
        /// The call, by its number, that fails, and how.
        fails: Option<(usize, DeviceError)>,
        /// The graph has taken the trial's input into itself.
        is_frozen: bool,
    }

    struct Graph {
        moved: u8,
        frozen: Option<u8>,
    }

    impl Host {
        fn call(&mut self, name: String) -> Result<(), DeviceError> {
            self.calls.push(name);
            match &self.fails {
                Some((at, error)) if *at == self.calls.len() => Err(error.clone()),
                _ => Ok(()),
            }
        }
    }

    impl Capture for Host {
        type Graph = Graph;

        fn called(&mut self, trial: u8) -> Result<Vec<u8>, DeviceError> {
            self.call(format!("called {trial}"))?;
            Ok(vec![trial, self.moved])
        }

        fn capture(&mut self) -> Result<Graph, DeviceError> {
            self.call("capture".into())?;
            Ok(Graph { moved: self.moved, frozen: self.is_frozen.then_some(0) })
        }

        fn replayed(&mut self, graph: &mut Graph, trial: u8) -> Result<Vec<u8>, DeviceError> {
            self.call(format!("replayed {trial}"))?;
            Ok(vec![graph.frozen.unwrap_or(trial), graph.moved])
        }
    }

    fn why<G>(way: Way<G>) -> Option<String> {
        match way {
            Way::Called(why) => Some(why),
            Way::Replayed(..) => None,
        }
    }

    #[test]
    fn a_graph_serves_after_its_answers_were_those_of_the_run_call_by_call() {
        let (mut host, places) = (Host::default(), Places::default());
        assert_eq!(why(decided(&mut host, 1, &places).unwrap()), None);
        let trials = (0..TRIALS).flat_map(|trial| [format!("called {trial}"), format!("replayed {trial}")]);
        let expected: Vec<String> = ["called 0".into(), "capture".into()].into_iter().chain(trials).collect();
        assert_eq!(host.calls, expected);
    }

    #[test]
    fn a_graph_that_answers_otherwise_does_not_serve_and_gives_its_place_back() {
        let (mut host, places) = (Host { is_frozen: true, ..Host::default() }, Places::default());
        let reason = why(decided(&mut host, 1, &places).unwrap()).unwrap();
        assert_eq!(reason, "the graph answers otherwise than the run call by call");
        assert_eq!(places.0.get(), MAX_GRAPHS);
        // One that held when it was made, and holds no more when another lane was captured.
        let (mut host, places) = (Host::default(), Places::default());
        let Way::Replayed(graph, place) = decided(&mut host, 1, &places).unwrap() else { panic!("it serves") };
        host.moved = 1;
        assert!(why(confirmed(&mut host, graph, place).unwrap()).is_some());
        assert_eq!(places.0.get(), MAX_GRAPHS);
    }

    #[test]
    fn whatever_fails_about_a_graph_is_a_reason_and_a_device_that_is_lost_is_a_fault() {
        for error in [DeviceError::Failed("900".into()), DeviceError::OutOfMemory("8 bytes".into())] {
            for (at, what) in [(2, "it cannot be captured"), (4, "the graph does not run")] {
                let mut host = Host { fails: Some((at, error.clone())), ..Host::default() };
                let reason = why(decided(&mut host, 1, &Places::default()).unwrap()).unwrap();
                assert_eq!(reason, format!("{what}: {error}"));
            }
        }
        for at in 1..=8 {
            let fails = Some((at, DeviceError::Lost("Xid 79".into())));
            let lost = decided(&mut Host { fails, ..Host::default() }, 1, &Places::default());
            assert!(matches!(lost, Err(DeviceError::Lost(_))), "call {at}");
        }
        // It ran before: what lacks is the graph's memory.
        for at in [1, 3, 5, 7] {
            let fails = Some((at, DeviceError::OutOfMemory("8 bytes".into())));
            let mut host = Host { fails, ..Host::default() };
            let reason = why(decided(&mut host, 1, &Places::default()).unwrap()).unwrap();
            assert!(reason.starts_with(NO_ROOM), "call {at}: {reason}");
        }
        // The network itself fails.
        for at in [1, 3, 5] {
            let fails = Some((at, DeviceError::Failed("layer 3".into())));
            let failed = decided(&mut Host { fails, ..Host::default() }, 1, &Places::default());
            assert!(matches!(failed, Err(DeviceError::Failed(_))), "call {at}");
        }
    }

    #[test]
    fn a_network_of_several_shapes_and_one_too_many_are_called() {
        let places = Places::default();
        for shapes in [0, 2] {
            let mut host = Host::default();
            assert!(why(decided(&mut host, shapes, &places).unwrap()).is_some() && host.calls.is_empty());
        }
        let mut kept: Vec<_> = (0..MAX_GRAPHS).map(|_| decided(&mut Host::default(), 1, &places).unwrap()).collect();
        assert!(kept.iter().all(|way| matches!(way, Way::Replayed(..))));
        let mut host = Host::default();
        assert!(why(decided(&mut host, 1, &places).unwrap()).unwrap().contains("16 graphs already"));
        // A network that is given up takes its graph with it.
        drop(kept.pop());
        assert_eq!(why(decided(&mut host, 1, &places).unwrap()), None);
    }

    #[test]
    fn graphs_are_found_by_their_lanes_counted_and_given_up_where_memory_lacks() {
        let (places, mut ways) = (Places::default(), Ways::default());
        for (lane, bytes) in [(7, 100), (8, 20)] {
            let way = decided(&mut Host::default(), 1, &places).unwrap();
            ways.set(lane, way, bytes);
        }
        ways.set(9, Way::Called("no".into()), 0);
        assert_eq!((ways.bytes(), places.0.get()), (120, MAX_GRAPHS - 2));
        assert!(ways.take(9).is_none() && ways.take(1).is_none());
        // A run takes its graph up, and puts it back.
        let (graph, place, bytes) = ways.take(7).unwrap();
        assert!(ways.take(7).is_none() && ways.bytes() == 20);
        ways.set(7, Way::Replayed(graph, place), bytes);
        assert!(ways.bytes() == 120 && ways.reasons().eq(["no"]));
        assert!(ways.give_up("memory lacked") && !ways.give_up("again"));
        assert_eq!((ways.bytes(), places.0.get()), (0, MAX_GRAPHS));
        assert_eq!(ways.reasons().filter(|why| *why == "memory lacked").count(), 2);
    }
}
