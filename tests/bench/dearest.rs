//! The search for the question that costs the daemon most.
//!
//! A question has two purses: 1024 bytes to ask with, and the bytes its answer may have. Each conversion takes so much of
//! both and so much time. Measure that for every conversion, fill the purses with the best pair of them, or with a shuffle of
//! the dearest (no branch predictor learns it), and let the measurement pick among these.

use std::io;
use std::net::UdpSocket;
use std::time::Duration;

use crate::load::{Load, Until};
use crate::measure;
use crate::peers::Server;
use crate::questions::{BEYOND, GLIBC, LONGEST, Workload};

/// The most that is answered: a packet of 1280 bytes, without its IPv6 and UDP headers.
const LONGEST_ANSWER: usize = 1232;
/// What makes each question new.
const SERIAL: usize = 10;
const ROOM: usize = LONGEST - SERIAL;
const ANSWER_ROOM: usize = LONGEST_ANSWER - SERIAL;

/// Text without a conversion, enough that the rest of the question may be answered at full length.
const PADDING: usize = 400;
/// How many conversions are shuffled.
const SHUFFLED: usize = 8;
/// How many shuffles of the dearest are asked in turn.
const SHUFFLES: usize = 16;

/// Their length differs from answer to answer, which leaves no way to tell a right one.
const VARYING: [&str; 2] = ["%.f", "%+"];

const GLANCE: Duration = Duration::from_millis(15);
const LOOK: Duration = Duration::from_millis(60);

#[derive(Clone, Debug)]
struct Token {
    text: &'static str,
    /// Bytes of answer.
    length: usize,
    /// Nanoseconds, parsed and rendered.
    cost: f64,
    /// Whether the C library knows it, and so can tell a right answer from a wrong one.
    known: bool,
}

/// The dearest questions found, one of each kind, without their serial numbers.
pub struct Dearest {
    pub good: Question,
    /// Good up to the last conversion, which no answer has room for.
    pub overflowing: Question,
    /// Bad at the last byte.
    pub bad: Question,
    /// What each conversion costs, in nanoseconds parsed and rendered, dearest first.
    pub prices: Vec<(&'static str, f64)>,
}

/// Several of the same kind, to be asked in turn.
#[derive(Clone)]
pub struct Question {
    pub name: String,
    pub tails: Vec<Vec<u8>>,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Known,
    Shaped,
    Refused,
}

impl Question {
    pub fn workload(&self, server: &Server) -> io::Result<Workload> {
        Ok(match self.kind {
            Kind::Known => Workload::unseen(&self.tails),
            Kind::Refused => Workload::unseen_refused(&self.tails),
            Kind::Shaped => {
                let examples = self.tails.iter().map(|tail| {
                    let mut question = b"0000000000".to_vec();
                    question.extend_from_slice(tail);
                    ask(server, &question)
                });
                Workload::unseen_shaped(&self.tails, &examples.collect::<io::Result<Vec<_>>>()?)
            }
        })
    }

    fn cost(&self, load: &mut Load, server: &Server, slice: Duration) -> io::Result<f64> {
        let mut workload = self.workload(server)?;
        // Median of three: what a neighbour does must not choose the winner.
        let costs =
            (0..3).map(|_| measure::crowd(load, server, &mut workload, Until::Elapsed(slice / 3)));
        Ok(measure::median(
            costs
                .collect::<io::Result<Vec<_>>>()?
                .into_iter()
                .map(|sample| sample.cost),
        ))
    }
}

/// Searches on `server` for the questions that cost it most.
pub fn search(load: &mut Load, server: &Server) -> io::Result<Dearest> {
    let tokens = priced(load, server)?;
    let good = dearest_of(load, server, candidates(&tokens))?;
    let overflowing = Question {
        name: format!("{}, then %999d", good.name),
        tails: good
            .tails
            .iter()
            .map(|tail| ending(tail, b"%999d"))
            .collect(),
        kind: Kind::Refused,
    };
    // What is refused need not fit into an answer, so here every conversion gets its chance.
    let mut bad = Vec::new();
    for token in &tokens {
        let tail = token.text.repeat(ROOM / token.text.len());
        bad.push(Question {
            name: token.text.into(),
            tails: vec![ending(tail.as_bytes(), b"%")],
            kind: Kind::Refused,
        });
    }
    bad.push(shuffle(&tokens, true));
    bad.push(good.clone());
    let mut priced = bad
        .iter()
        .map(|bad| Ok((bad.cost(load, server, GLANCE)?, bad)))
        .collect::<io::Result<Vec<_>>>()?;
    priced.sort_by(|a, b| b.0.total_cmp(&a.0));
    let endings: [(&[u8], &str); 4] = [
        (b"%", "%"),
        (b"%!", "%!"),
        (b"\xff", "byte FF"),
        (b"\0", "NUL"),
    ];
    let finalists = priced.iter().take(3).flat_map(|(_, bad)| {
        endings.iter().map(|(end, word)| Question {
            name: format!("{}, then {word}", bad.name),
            tails: bad.tails.iter().map(|tail| ending(tail, end)).collect(),
            kind: Kind::Refused,
        })
    });
    let bad = dearest_of(load, server, finalists.collect())?;
    let prices = tokens
        .iter()
        .map(|token| (token.text, token.cost))
        .collect();
    Ok(Dearest {
        good,
        overflowing,
        bad,
        prices,
    })
}

/// Every conversion the daemon answers, dearest first.
fn priced(load: &mut Load, server: &Server) -> io::Result<Vec<Token>> {
    let known = GLIBC.split_whitespace().map(|text| (text, true));
    let beyond = BEYOND.split_whitespace().map(|text| (text, false));
    let mut price = |text: &str, count: usize, known| {
        let tail = text.repeat(count) + &".".repeat(PADDING);
        let kind = if known { Kind::Known } else { Kind::Shaped };
        let question = Question {
            name: text.into(),
            tails: vec![tail.into_bytes()],
            kind,
        };
        question.cost(load, server, GLANCE)
    };
    let bare = price("%H", 1, true)?;
    let mut tokens = Vec::new();
    for (text, known) in known.chain(beyond) {
        let answer = ask(server, text.as_bytes())?;
        if answer.starts_with(b"error: ") {
            continue;
        }
        let length = answer.len();
        let most = (LONGEST_ANSWER - SERIAL - PADDING) / length.max(1);
        let count = most.min((ROOM - PADDING) / text.len());
        let cost = (price(text, count, known)? - bare).max(0.0) / count as f64;
        tokens.push(Token {
            text,
            length,
            cost,
            known,
        });
    }
    tokens.sort_by(|a, b| b.cost.total_cmp(&a.cost));
    Ok(tokens)
}

fn candidates(tokens: &[Token]) -> Vec<Question> {
    let fixed: Vec<Token> = tokens
        .iter()
        .filter(|token| !VARYING.contains(&token.text))
        .cloned()
        .collect();
    let mut pairs = Vec::new();
    for (index, first) in fixed.iter().enumerate() {
        for second in &fixed[index..] {
            for count in 0..=ROOM / first.text.len() {
                let Some((others, padding)) = fill(first, count, second) else {
                    break;
                };
                let cost = count as f64 * first.cost + others as f64 * second.cost;
                pairs.push((cost, first, count, second, others, padding));
            }
        }
    }
    pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
    // Neighbours of the best are as good as it; one of each pair is enough.
    let mut seen = Vec::new();
    pairs.retain(|&(_, first, _, second, ..)| {
        let new = seen.len() < 4 && !seen.contains(&(first.text, second.text));
        seen.extend(new.then_some((first.text, second.text)));
        new
    });
    let mut candidates: Vec<Question> = pairs
        .into_iter()
        .map(|(_, first, count, second, others, padding)| {
            let conversions = first.text.repeat(count) + &second.text.repeat(others);
            Question {
                name: format!("{count} x {} and {others} x {}", first.text, second.text),
                tails: vec![(conversions + &".".repeat(padding)).into_bytes()],
                kind: if first.known && second.known {
                    Kind::Known
                } else {
                    Kind::Shaped
                },
            }
        })
        .collect();
    candidates.push(shuffle(&fixed, false));
    candidates
}

/// How many of `second` fit beside `count` of `first`, and the padding that earns them their answer:
/// it is at most three times the question and 56 bytes.
fn fill(first: &Token, count: usize, second: &Token) -> Option<(usize, usize)> {
    let room = ROOM.checked_sub(count * first.text.len())?;
    let answer = (LONGEST_ANSWER - SERIAL).checked_sub(count * first.length)?;
    let most = (room / second.text.len()).min(answer / second.length.max(1));
    (0..=most).rev().find_map(|others| {
        let question = SERIAL + count * first.text.len() + others * second.text.len();
        let answer = SERIAL + count * first.length + others * second.length;
        let padding = answer.saturating_sub(3 * question + 56).div_ceil(2);
        let fits = question + padding <= LONGEST && answer + padding <= LONGEST_ANSWER;
        fits.then_some((others, padding))
    })
}

/// The conversions that are dearest by the byte, in no order. Unless the answer is to be an error,
/// it grows with the question, so that the room for the one ends with the room for the other.
fn shuffle(tokens: &[Token], bad: bool) -> Question {
    let fits = |asked: usize, answered: usize| bad || answered * ROOM <= asked * ANSWER_ROOM;
    let mut chosen: Vec<&Token> = tokens.iter().collect();
    chosen.sort_by(|a, b| {
        let by_the_byte = |token: &Token| token.cost / token.text.len() as f64;
        by_the_byte(b).total_cmp(&by_the_byte(a))
    });
    // Longer answers than the room grows by are for when shorter ones have left some.
    let (mut short, mut long) = (0, 0);
    chosen.retain(|token| {
        let kind = if fits(token.text.len(), token.length) {
            &mut short
        } else {
            &mut long
        };
        *kind += 1;
        *kind <= SHUFFLED && (bad || token.length <= 2 * token.text.len())
    });
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let tails = (0..SHUFFLES).map(|_| {
        let (mut tail, mut answered) = (String::new(), 0);
        loop {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            // From a random one on, the first that fits; the room is full where none does.
            let start = (random % chosen.len().max(1) as u64) as usize;
            let next = (0..chosen.len())
                .map(|step| chosen[(start + step) % chosen.len()])
                .find(|token| {
                    let asked = tail.len() + token.text.len();
                    asked <= ROOM && fits(asked, answered + token.length)
                });
            let Some(token) = next else { break };
            tail.push_str(token.text);
            answered += token.length;
        }
        tail.into_bytes()
    });
    let names: Vec<&str> = chosen.iter().map(|token| token.text).collect();
    let known = chosen.iter().all(|token| token.known);
    Question {
        name: format!("{} shuffled", names.join(" ")),
        tails: tails.collect(),
        kind: if known { Kind::Known } else { Kind::Shaped },
    }
}

fn dearest_of(load: &mut Load, server: &Server, candidates: Vec<Question>) -> io::Result<Question> {
    let mut dearest = None;
    for candidate in candidates {
        let cost = candidate.cost(load, server, LOOK)?;
        if dearest.as_ref().is_none_or(|&(most, _)| cost > most) {
            dearest = Some((cost, candidate));
        }
    }
    dearest
        .map(|(_, question)| question)
        .ok_or_else(|| io::Error::other("no question to choose from"))
}

/// `tail` cut short, at a conversion where it has to be, to end in `end` at the last byte of a longest question.
fn ending(tail: &[u8], end: &[u8]) -> Vec<u8> {
    let mut cut = tail[..tail.len().min(ROOM - end.len())].to_vec();
    if let Some(last) = cut.iter().rposition(|&byte| byte == b'%') {
        // A conversion cut in two would be the error, and an early one.
        cut.truncate(last);
    }
    cut.resize(ROOM - end.len(), b'.');
    cut.extend_from_slice(end);
    cut
}

fn ask(server: &Server, question: &[u8]) -> io::Result<Vec<u8>> {
    let socket = UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0))?;
    socket.connect(server.address)?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    socket.send(question)?;
    let mut answer = vec![0; 2048];
    let length = socket.recv(&mut answer)?;
    answer.truncate(length);
    Ok(answer)
}
