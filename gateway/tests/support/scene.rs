//! A gateway under watch: a canary on it that follows everything, and connections whose answers are looked at one by one.

use gateway::config::Config;
use serde_json::{Value, json};

use super::client::Client;
use super::gateway::{Gateway, settings};
use super::socket::{Socket, TEXT};

/// A gateway, and a canary on it that follows everything.
#[derive(Debug)]
pub struct Scene {
    pub gateway: Gateway,
    pub canary: Client,
}

impl Scene {
    pub fn start(config: Config) -> Self {
        let gateway = Gateway::start_ready(config);
        let mut canary = gateway.client();
        canary.follow(&["BTC/USD", "ETH/USD", "SOL/USD", "XRP/USD"], 10);
        Self { gateway, canary }
    }

    pub fn asker(&self, path: &str) -> Asker {
        Asker::over(Socket::connect(self.gateway.public, path))
    }

    /// A scene in which every symbol has traded: a snapshot without a trade is not sent.
    pub fn start_traded() -> Self {
        let mut config = settings();
        config.feed.sim.rate = 1_000.0;
        let mut scene = Self::start(config);
        scene.canary.wait("a trade of each symbol", |view| view.trades.len() == 4);
        scene
    }

    /// The canary lost nothing and goes on; its view has checked every message.
    pub fn check_canary(&mut self) {
        self.canary.drain();
        let updates = self.canary.view.updates;
        self.canary.wait("the market to go on", |view| view.updates > updates + 20);
        assert_eq!((self.canary.closed, self.canary.view.missing_trades()), (None, 0));
    }
}

/// A connection whose answers are looked at one by one.
#[derive(Debug)]
pub struct Asker {
    pub socket: Socket,
    pings: u64,
}

impl Asker {
    pub fn over(socket: Socket) -> Self {
        Self { socket, pings: 1 << 40 }
    }

    /// The next answer; what channels push before it is passed over.
    pub fn answer(&mut self) -> Value {
        loop {
            let frame = self.socket.frame();
            assert_eq!(frame.opcode, TEXT, "{}", String::from_utf8_lossy(&frame.payload));
            let message: Value = serde_json::from_str(frame.text()).unwrap();
            if message["channel"].is_null() {
                return message;
            }
        }
    }

    /// The answers to one message, without their times. A ping behind them shows that there are no more and that the
    /// connection is open.
    pub fn ask(&mut self, opcode: u8, payload: &[u8], answers: usize) -> Vec<Value> {
        self.socket.send(opcode, payload);
        let mut got: Vec<Value> = (0..answers).map(|_| timeless(self.answer())).collect();
        self.pings += 1;
        self.socket.send_text(&format!("{{\"method\":\"ping\",\"req_id\":{}}}", self.pings));
        loop {
            let answer = timeless(self.answer());
            if answer == json!({ "method": "pong", "req_id": self.pings }) {
                return got;
            }
            got.push(answer);
        }
    }
}

/// Takes the times out of an answer, after a look at them.
pub fn timeless(mut answer: Value) -> Value {
    let keys = answer.as_object_mut().expect("an answer is an object");
    let times: Vec<String> = ["time_in", "time_out"]
        .map(|key| keys.remove(key).and_then(|time| time.as_str().map(str::to_owned)).expect(key))
        .to_vec();
    let shape = |time: &String| time.replace(|c: char| c.is_ascii_digit(), "9");
    assert!(times.iter().all(|time| shape(time) == "9999-99-99T99:99:99.999999Z"), "{times:?}");
    assert!(times.is_sorted(), "{times:?}");
    answer
}
