//! A TCP proxy that does to connections what networks do.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use crate::frames::{Frame, Frames, Protocol, Way, What};

/// What happens to bytes in one direction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Mode {
    /// They pass.
    Pass,
    /// They pass so much later.
    Delay(Duration),
    /// So many bytes pass in a second, a few at a time.
    Slow(usize),
    /// They are taken and thrown away.
    Blackhole,
    /// They are not taken.
    Stall,
}

/// What happens to new connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// They are taken.
    Open,
    /// They are reset at once.
    Refuse,
    /// They are taken, and nobody ever says a word.
    Mute,
}

/// Where a connection is cut, in relation to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The message is lost.
    Before,
    /// The message arrives, nothing behind it does.
    After,
    /// The message arrives and is worked on; the answer is lost.
    Answer,
    /// The connection stays, and the message arrives twice.
    Twice,
}

/// Cuts a connection at a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trigger {
    /// The message.
    pub(crate) what: What,
    /// Where.
    pub(crate) cut: Cut,
    /// Each so manieth of these messages, over all connections.
    pub(crate) every: usize,
    /// So often.
    pub(crate) times: usize,
}

#[derive(Debug, Clone, Copy)]
struct Control {
    door: Door,
    up: Mode,
    down: Mode,
    /// A connection of another generation is reset.
    generation: u64,
}

struct Shared {
    target: u16,
    protocol: Protocol,
    control: watch::Sender<Control>,
    armed: Mutex<Vec<Armed>>,
}

struct Armed {
    trigger: Trigger,
    seen: usize,
    fired: usize,
}

/// A proxy in front of a server on this machine.
#[derive(Clone)]
pub(crate) struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

impl Proxy {
    /// A proxy that lets everything pass, in front of the port `target`.
    pub(crate) async fn start(target: u16, protocol: Protocol) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (control, _) = watch::channel(Control {
            door: Door::Open,
            up: Mode::Pass,
            down: Mode::Pass,
            generation: 0,
        });
        let shared = Arc::new(Shared {
            target,
            protocol,
            control,
            armed: Mutex::default(),
        });
        // It ends when the proxy is dropped.
        let weak = Arc::downgrade(&shared);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Some(shared) = weak.upgrade() else { return };
                tokio::spawn(serve(client, shared));
            }
        });
        Self { port, shared }
    }

    /// The port it listens on.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// What happens to bytes from now on.
    pub(crate) fn set(&self, way: Way, mode: Mode) {
        self.shared.control.send_modify(|control| match way {
            Way::Up => control.up = mode,
            Way::Down => control.down = mode,
        });
    }

    /// The same in both directions.
    pub(crate) fn both(&self, mode: Mode) {
        self.set(Way::Up, mode);
        self.set(Way::Down, mode);
    }

    /// What happens to new connections from now on.
    pub(crate) fn door(&self, door: Door) {
        self.shared
            .control
            .send_modify(|control| control.door = door);
    }

    /// Resets every connection (RST).
    pub(crate) fn reset(&self) {
        self.shared
            .control
            .send_modify(|control| control.generation += 1);
    }

    /// Arms a trigger.
    pub(crate) fn arm(&self, trigger: Trigger) {
        self.shared.armed.lock().unwrap().push(Armed {
            trigger,
            seen: 0,
            fired: 0,
        });
    }

    /// How often triggers have fired.
    pub(crate) fn fired(&self) -> usize {
        let armed = self.shared.armed.lock().unwrap();
        armed.iter().map(|armed| armed.fired).sum()
    }

    /// Lets everything pass again.
    pub(crate) fn heal(&self) {
        self.shared.armed.lock().unwrap().clear();
        self.both(Mode::Pass);
        self.door(Door::Open);
    }
}

impl Shared {
    fn mode(&self, way: Way) -> Mode {
        let control = self.control.borrow();
        match way {
            Way::Up => control.up,
            Way::Down => control.down,
        }
    }

    /// Whether a trigger fires at this message.
    fn fires(&self, frame: &Frame) -> Option<Cut> {
        let what = frame.what?;
        let mut armed = self.armed.lock().unwrap();
        let mut cut = None;
        for one in armed.iter_mut().filter(|one| one.trigger.what == what) {
            one.seen += 1;
            if one.seen.is_multiple_of(one.trigger.every) && one.fired < one.trigger.times {
                one.fired += 1;
                cut = Some(one.trigger.cut);
            }
        }
        cut
    }
}

/// A connection that is to be reset.
struct Broken;

enum Item {
    Bytes(Instant, Vec<u8>),
    Break,
}

/// One direction of one connection.
struct Pump<'a> {
    shared: &'a Shared,
    way: Way,
    /// Whether the next answer of the server is lost.
    deaf: &'a watch::Sender<bool>,
}

async fn serve(mut client: TcpStream, shared: Arc<Shared>) {
    let mut changes = shared.control.subscribe();
    let Control {
        door, generation, ..
    } = *changes.borrow_and_update();
    let over = async move {
        changes
            .wait_for(|now| now.generation != generation)
            .await
            .is_ok()
    };
    match door {
        Door::Refuse => {
            client.set_zero_linger().ok();
            return;
        }
        Door::Mute => {
            over.await;
            return;
        }
        Door::Open => {}
    }
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", shared.target)).await else {
        client.set_zero_linger().ok();
        return;
    };
    for stream in [&client, &server] {
        stream.set_nodelay(true).ok();
    }
    let deaf = watch::Sender::new(false);
    let pump = |way| Pump {
        shared: &shared,
        way,
        deaf: &deaf,
    };
    let passing = async {
        let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
        let (up, down) = (pump(Way::Up), pump(Way::Down));
        tokio::try_join!(
            up.run(from_client, to_server),
            down.run(from_server, to_client)
        )
        .is_err()
    };
    let broken = tokio::select! {
        broken = passing => broken,
        over = over => over,
    };
    if broken {
        for stream in [&client, &server] {
            stream.set_zero_linger().ok();
        }
    }
}

impl Pump<'_> {
    async fn run(self, from: ReadHalf<'_>, to: WriteHalf<'_>) -> Result<(), Broken> {
        let (sender, queue) = mpsc::channel(64);
        tokio::try_join!(self.read(from, sender), self.write(to, queue)).map(drop)
    }

    async fn read(&self, mut from: ReadHalf<'_>, to: mpsc::Sender<Item>) -> Result<(), Broken> {
        let mut frames = Frames::new(self.shared.protocol, self.way);
        let mut buffer = vec![0; 16 * 1024];
        let mut changes = self.shared.control.subscribe();
        loop {
            let count = from.read(&mut buffer).await.map_err(|_| Broken)?;
            if count == 0 {
                return Ok(());
            }
            if self.way == Way::Down && *self.deaf.borrow() {
                return Err(Broken);
            }
            if self.shared.mode(self.way) == Mode::Stall {
                let way = self.way;
                let moves = changes.wait_for(|control| match way {
                    Way::Up => control.up != Mode::Stall,
                    Way::Down => control.down != Mode::Stall,
                });
                moves.await.map_err(|_| Broken)?;
            }
            let due = match self.shared.mode(self.way) {
                Mode::Blackhole => continue,
                Mode::Delay(delay) => Instant::now() + delay,
                _ => Instant::now(),
            };
            for frame in frames.take(&buffer[..count]) {
                self.pass(frame, due, &to).await?;
            }
        }
    }

    async fn pass(
        &self,
        frame: Frame,
        due: Instant,
        to: &mpsc::Sender<Item>,
    ) -> Result<(), Broken> {
        let cut = self.shared.fires(&frame);
        if cut == Some(Cut::Answer) {
            self.deaf.send_replace(true);
        }
        if cut == Some(Cut::Twice) {
            let bytes = Item::Bytes(due, frame.bytes.clone());
            to.send(bytes).await.map_err(|_| Broken)?;
        }
        if cut != Some(Cut::Before) {
            let bytes = Item::Bytes(due, frame.bytes);
            to.send(bytes).await.map_err(|_| Broken)?;
        }
        if matches!(cut, Some(Cut::Before | Cut::After)) {
            to.send(Item::Break).await.map_err(|_| Broken)?;
            // Until what is on its way has been written.
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    async fn write(
        &self,
        mut to: WriteHalf<'_>,
        mut queue: mpsc::Receiver<Item>,
    ) -> Result<(), Broken> {
        while let Some(item) = queue.recv().await {
            let Item::Bytes(due, bytes) = item else {
                return Err(Broken);
            };
            sleep_until(due).await;
            let mut left = bytes.as_slice();
            while let (Mode::Slow(rate), false) = (self.shared.mode(self.way), left.is_empty()) {
                let (now, later) = left.split_at(left.len().min((rate / 20).max(1)));
                to.write_all(now).await.map_err(|_| Broken)?;
                left = later;
                sleep(Duration::from_millis(50)).await;
            }
            to.write_all(left).await.map_err(|_| Broken)?;
        }
        to.shutdown().await.map_err(|_| Broken)
    }
}
