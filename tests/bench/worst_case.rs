//! The search for the requests of 1024 bytes that cost wallclockd most.
//!
//! Each directive takes some bytes of the request, some of the response, and some time. The search
//! measures that for every directive, computes which pairs of them cost most within both limits,
//! adds a random mix of the most expensive ones (which no branch predictor learns), and measures
//! these candidates.

use std::io;
use std::time::Duration;

use wallclock::protocol::{MAX_REQUEST_LEN, MAX_RESPONSE_LEN, max_response_len};

use crate::load::{Load, Until};
use crate::measure;
use crate::requests::{GLIBC_DIRECTIVES, OTHER_DIRECTIVES, SERIAL_LEN, Workload};
use crate::servers::Server;

/// What a request and its response have left after the number that makes the request a new one.
const MAX_TAIL_LEN: usize = MAX_REQUEST_LEN - SERIAL_LEN;
const MAX_TEXT_LEN: usize = MAX_RESPONSE_LEN - SERIAL_LEN;

/// Text without directives in the request that measures a directive: with it rule 6 allows the
/// longest response.
const FILLER: usize = 400;
/// How many directives are mixed, and how many mixes are sent in turn.
const MIXED: usize = 8;
const MIXES: usize = 16;

/// The length of their text changes from response to response, so there is no check for them.
const VARIABLE_LENGTH: [&str; 2] = ["%.f", "%+"];

const SHORT_SLICE: Duration = Duration::from_millis(15);
const LONG_SLICE: Duration = Duration::from_millis(60);

#[derive(Clone, Debug)]
struct Directive {
    text: &'static str,
    /// Bytes in the response.
    output_len: usize,
    /// Nanoseconds to parse and render it.
    cost: f64,
    /// Whether the C library defines it: then the response can be checked exactly.
    in_glibc: bool,
}

/// The most expensive requests, one of each kind.
pub struct WorstCases {
    pub answered: Request,
    /// The same with a last directive that no response has space for.
    pub too_long: Request,
    /// With an error at the last byte.
    pub unknown: Request,
    /// Nanoseconds to parse and render each directive, the most expensive first.
    pub directive_costs: Vec<(&'static str, f64)>,
}

/// Requests of one kind, to be sent in turn.
#[derive(Clone)]
pub struct Request {
    pub name: String,
    /// The requests without their numbers.
    pub tails: Vec<Vec<u8>>,
    response: ResponseKind,
}

#[derive(Clone, Copy, PartialEq)]
enum ResponseKind {
    /// The text that strftime writes.
    Glibc,
    /// A text like that of an example.
    Shape,
    Error,
}

impl ResponseKind {
    fn new(in_glibc: bool) -> Self {
        if in_glibc {
            ResponseKind::Glibc
        } else {
            ResponseKind::Shape
        }
    }
}

impl Request {
    pub fn workload(&self, server: &Server) -> io::Result<Workload> {
        Ok(match self.response {
            ResponseKind::Glibc => Workload::numbered(&self.tails),
            ResponseKind::Error => Workload::numbered_error(&self.tails),
            ResponseKind::Shape => {
                let examples = self.tails.iter().map(|tail| {
                    let request = [&[b'0'; SERIAL_LEN], tail.as_slice()].concat();
                    server.query(&request)
                });
                let examples = examples.collect::<io::Result<Vec<_>>>()?;
                Workload::numbered_shape(&self.tails, &examples)
            }
        })
    }

    fn cost(&self, load: &mut Load, server: &Server, slice: Duration) -> io::Result<f64> {
        let mut workload = self.workload(server)?;
        let mut costs = [0.0; 3];
        for cost in &mut costs {
            let until = Until::Elapsed(slice / 3);
            *cost = measure::closed_loop(load, server, &mut workload, until)?.cost;
        }
        // The median, because other load on the machine must not choose the result.
        Ok(measure::median(costs))
    }

    /// Returns the same requests with `end` as last bytes of the longest request.
    fn ending_in(&self, end: &[u8], name: &str) -> Self {
        Self {
            name: format!("{}, then {name}", self.name),
            tails: self.tails.iter().map(|tail| with_end(tail, end)).collect(),
            response: ResponseKind::Error,
        }
    }
}

/// Searches for the requests that cost `server` most.
pub fn search(load: &mut Load, server: &Server) -> io::Result<WorstCases> {
    let directives = measure_directives(load, server)?;
    let answered = most_expensive(load, server, candidates(&directives))?;
    let too_long = answered.ending_in(b"%999d", "%999d");
    let unknown = search_errors(load, server, &directives, &answered)?;
    let costs = directives.iter().map(|it| (it.text, it.cost));
    Ok(WorstCases {
        answered,
        too_long,
        unknown,
        directive_costs: costs.collect(),
    })
}

/// Searches for the request with an error at its end that costs most.
fn search_errors(
    load: &mut Load,
    server: &Server,
    directives: &[Directive],
    answered: &Request,
) -> io::Result<Request> {
    // The text need not fit into a response, so each directive alone is a candidate.
    let mut requests = Vec::new();
    for directive in directives {
        let tail = directive.text.repeat(MAX_TAIL_LEN / directive.text.len());
        requests.push(Request {
            name: directive.text.into(),
            tails: vec![with_end(tail.as_bytes(), b"%")],
            response: ResponseKind::Error,
        });
    }
    requests.push(mix(directives, true));
    requests.push(answered.clone());
    let mut costs = Vec::new();
    for request in &requests {
        costs.push((request.cost(load, server, SHORT_SLICE)?, request));
    }
    costs.sort_by(|a, b| b.0.total_cmp(&a.0));
    let ends: [(&[u8], &str); 4] = [
        (b"%", "%"),
        (b"%!", "%!"),
        (b"\xff", "byte FF"),
        (b"\0", "NUL"),
    ];
    let finalists = costs.iter().take(3).flat_map(|(_, request)| {
        let variants = ends.iter().map(|(end, name)| request.ending_in(end, name));
        variants.collect::<Vec<_>>()
    });
    most_expensive(load, server, finalists.collect())
}

/// Measures every directive that wallclockd knows; the most expensive first.
fn measure_directives(load: &mut Load, server: &Server) -> io::Result<Vec<Directive>> {
    let glibc = GLIBC_DIRECTIVES.split_whitespace().map(|text| (text, true));
    let others = OTHER_DIRECTIVES
        .split_whitespace()
        .map(|text| (text, false));
    let mut cost = |text: &str, count: usize, in_glibc| {
        let tail = text.repeat(count) + &".".repeat(FILLER);
        let request = Request {
            name: text.into(),
            tails: vec![tail.into_bytes()],
            response: ResponseKind::new(in_glibc),
        };
        request.cost(load, server, SHORT_SLICE)
    };
    let one_directive = cost("%H", 1, true)?;
    let mut directives = Vec::new();
    for (text, in_glibc) in glibc.chain(others) {
        let output = server.query(text.as_bytes())?;
        if output.starts_with(b"error: ") {
            continue;
        }
        let output_len = output.len();
        let count =
            ((MAX_TEXT_LEN - FILLER) / output_len.max(1)).min((MAX_TAIL_LEN - FILLER) / text.len());
        let total = cost(text, count, in_glibc)? - one_directive;
        directives.push(Directive {
            text,
            output_len,
            cost: total.max(0.0) / count as f64,
            in_glibc,
        });
    }
    directives.sort_by(|a, b| b.cost.total_cmp(&a.cost));
    Ok(directives)
}

/// Returns the four best pairs of directives, and a mix.
fn candidates(directives: &[Directive]) -> Vec<Request> {
    let directives: Vec<Directive> = directives
        .iter()
        .filter(|directive| !VARIABLE_LENGTH.contains(&directive.text))
        .cloned()
        .collect();
    let mut pairs = Vec::new();
    for (index, first) in directives.iter().enumerate() {
        for second in &directives[index..] {
            for first_count in 0..=MAX_TAIL_LEN / first.text.len() {
                let Some((second_count, filler)) = fill(first, first_count, second) else {
                    break;
                };
                let cost = first_count as f64 * first.cost + second_count as f64 * second.cost;
                pairs.push((cost, first, first_count, second, second_count, filler));
            }
        }
    }
    pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
    // Other counts of the best pair come next and cost the same: one of each pair is enough.
    let mut best = Vec::new();
    let mut seen = Vec::new();
    for (_, first, first_count, second, second_count, filler) in pairs {
        if best.len() == 4 {
            break;
        }
        if seen.contains(&(first.text, second.text)) {
            continue;
        }
        seen.push((first.text, second.text));
        let tail = first.text.repeat(first_count)
            + &second.text.repeat(second_count)
            + &".".repeat(filler);
        best.push(Request {
            name: format!(
                "{first_count} x {} and {second_count} x {}",
                first.text, second.text
            ),
            tails: vec![tail.into_bytes()],
            response: ResponseKind::new(first.in_glibc && second.in_glibc),
        });
    }
    best.push(mix(&directives, false));
    best
}

/// Returns how many of `second` fit beside `first_count` of `first`, and how many bytes of filler
/// the request then needs, because rule 6 limits the response by the length of the request.
fn fill(first: &Directive, first_count: usize, second: &Directive) -> Option<(usize, usize)> {
    let tail_left = MAX_TAIL_LEN.checked_sub(first_count * first.text.len())?;
    let text_left = MAX_TEXT_LEN.checked_sub(first_count * first.output_len)?;
    let most = (tail_left / second.text.len()).min(text_left / second.output_len.max(1));
    (0..=most).rev().find_map(|count| {
        let request = MAX_REQUEST_LEN - tail_left + count * second.text.len();
        let response = MAX_RESPONSE_LEN - text_left + count * second.output_len;
        // Each byte of filler allows three more and takes one of them.
        let filler = response.saturating_sub(3 * request + 56).div_ceil(2);
        let fits = request + filler <= MAX_REQUEST_LEN
            && response + filler <= max_response_len(request + filler);
        fits.then_some((count, filler))
    })
}

/// Returns random sequences of the directives that cost most per byte. Unless the response is an
/// error, it grows in proportion to the request, so that both reach their limits together.
fn mix(directives: &[Directive], error: bool) -> Request {
    let fits = |request: usize, response: usize| {
        error || response * MAX_TAIL_LEN <= request * MAX_TEXT_LEN
    };
    let mut chosen: Vec<&Directive> = directives.iter().collect();
    let cost_per_byte = |it: &Directive| it.cost / it.text.len() as f64;
    chosen.sort_by(|a, b| cost_per_byte(b).total_cmp(&cost_per_byte(a)));
    // Directives with a long output are usable only after some with a short one.
    let (mut short, mut long) = (0, 0);
    chosen.retain(|directive| {
        let count = if fits(directive.text.len(), directive.output_len) {
            &mut short
        } else {
            &mut long
        };
        *count += 1;
        *count <= MIXED && (error || directive.output_len <= 2 * directive.text.len())
    });
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let tails = (0..MIXES).map(|_| {
        let (mut tail, mut text_len) = (String::new(), 0);
        loop {
            // xorshift64
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let start = (random % chosen.len().max(1) as u64) as usize;
            let next = (0..chosen.len())
                .map(|step| chosen[(start + step) % chosen.len()])
                .find(|directive| {
                    let tail_len = tail.len() + directive.text.len();
                    tail_len <= MAX_TAIL_LEN && fits(tail_len, text_len + directive.output_len)
                });
            let Some(directive) = next else { break };
            tail.push_str(directive.text);
            text_len += directive.output_len;
        }
        tail.into_bytes()
    });
    let names: Vec<&str> = chosen.iter().map(|directive| directive.text).collect();
    Request {
        name: format!("{} mixed", names.join(" ")),
        tails: tails.collect(),
        response: ResponseKind::new(chosen.iter().all(|directive| directive.in_glibc)),
    }
}

fn most_expensive(
    load: &mut Load,
    server: &Server,
    candidates: Vec<Request>,
) -> io::Result<Request> {
    let mut best: Option<(f64, Request)> = None;
    for candidate in candidates {
        let cost = candidate.cost(load, server, LONG_SLICE)?;
        if best.as_ref().is_none_or(|&(most, _)| cost > most) {
            best = Some((cost, candidate));
        }
    }
    best.map(|(_, request)| request)
        .ok_or_else(|| io::Error::other("no request to choose from"))
}

/// Cuts or extends `tail` so that `end` is at the last bytes of the longest request.
fn with_end(tail: &[u8], end: &[u8]) -> Vec<u8> {
    let mut cut = tail[..tail.len().min(MAX_TAIL_LEN - end.len())].to_vec();
    if let Some(last) = cut.iter().rposition(|&byte| byte == b'%') {
        // A directive that is cut in two would be an earlier error.
        cut.truncate(last);
    }
    cut.resize(MAX_TAIL_LEN - end.len(), b'.');
    cut.extend_from_slice(end);
    cut
}
