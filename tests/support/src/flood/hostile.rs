//! Hostile datagrams.

/// xorshift64*, from a seed that is not 0: the same numbers on each machine.
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        ((self.next_u64() >> 32) as usize) % end
    }

    /// One of these values.
    pub fn choose<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    fn fill(&mut self, bytes: &mut Vec<u8>, count: usize) {
        bytes.extend((0..count).map(|_| (self.next_u64() >> 56) as u8));
    }
}

/// Replaces the datagram by a random hostile one: pieces of formats, huge widths, complete and cut
/// UTF-8, noise, responses sent back, and long ones.
pub fn hostile_datagram(random: &mut Random, datagram: &mut Vec<u8>) {
    datagram.clear();
    match random.below(5_000) {
        0 => {
            // As long as a UDP datagram can be.
            let length = 65_000 + random.below(508);
            let byte = random.choose(b"%%a \0\xff");
            datagram.resize(length - 2, byte);
            datagram.extend_from_slice(b"%d");
        }
        1..50 => {
            let length = random.below(9_000);
            random.fill(datagram, length);
        }
        50..100 => {
            let length = random.below(4_500);
            let directive = random.choose(b"cZ%dQ+N");
            datagram.extend((0..length).flat_map(|_| [b'%', directive]));
        }
        100..150 => datagram.resize(random.below(9_000), b'%'),
        // Around the length of the longest request.
        150..250 => {
            datagram.resize(1015 + random.below(20), b'.');
            let end = datagram.len() - 2;
            datagram[end..].copy_from_slice(random.choose(&[b"%d", b"%Q", b"x%", b"%c", b"\xff%"]));
        }
        250..400 => {
            let length = random.below(40);
            random.fill(datagram, length);
        }
        400..500 => datagram.resize(random.below(30), random.choose(b" \n\t\r")),
        500..600 => {
            let response = random.choose(&[
                &b"error: byte 9: unknown conversion Q"[..],
                b"error: answer too long",
                b"2026-07-05 09:05:07",
                b"%%error: %",
                b"\x1b]0;%s\x07",
                b"%n%n%n%n%s%s%s%s%x%x",
                b"${jndi:ldap://%s}",
                b"GET /%2e%2e/ HTTP/1.0\r\n\r\n",
                b"\x24\x02\x00\xe9%",
            ]);
            datagram.extend_from_slice(response);
        }
        _ => {
            let pieces = if random.below(50) == 0 {
                random.below(300)
            } else {
                random.below(12)
            };
            for _ in 0..pieces {
                push_piece(random, datagram);
            }
        }
    }
}

fn push_piece(random: &mut Random, datagram: &mut Vec<u8>) {
    match random.below(20) {
        0..7 => datagram.extend_from_slice(&[
            b'%',
            random.choose(b"aAbBcCdDeFgGhHIjklmMnpPrRsStTuUVwWxXyYzZ%NqfvQJKLi!~"),
        ]),
        7..12 => {
            datagram.push(b'%');
            for _ in 0..random.below(4) {
                datagram.push(random.choose(b"_-0^#"));
            }
            if random.below(2) == 0 {
                let width = random.next_u64() >> random.below(64);
                datagram.extend_from_slice(width.to_string().as_bytes());
            }
            if random.below(3) == 0 {
                datagram.push(random.choose(b"EO:."));
            }
            datagram.push(random.choose(b"aAbBcCdDeFgGhHIjklmMnpPrRsStTuUVwWxXyYzZ%NqQf:+"));
        }
        12 => datagram.extend((0..random.below(64)).map(|_| b'%')),
        13 => datagram.extend_from_slice(random.choose(&[
            &b"\xff"[..],
            b"\xc3",
            b"\xe2\x86",
            b"\xf4\x90\x80\x80",
            b"\xed\xa0\x80",
            b"\0",
            b"%\xf0\x9f",
        ])),
        14 | 15 => datagram.extend_from_slice(
            random
                .choose(&["→", "時", "\u{10ffff}", "\u{202e}", "é", "\u{7f}"])
                .as_bytes(),
        ),
        16 => datagram.extend_from_slice(random.choose(&[
            &b"%:z"[..],
            b"%::z",
            b"%:::z",
            b"%::::z",
            b"%.3f",
            b"%9f",
            b"%.f",
            b"%+",
            b"%Ez",
            b"%Oa",
        ])),
        _ => {
            let count = random.below(12);
            datagram.extend((0..count).map(|_| b' ' + (random.next_u64() >> 56) as u8 % 95));
        }
    }
}
