//! What matching a Lua pattern would cost, found out before Lua's own matcher is let loose.
//!
//! That matcher is written in C and backtracks: `("a?"):rep(60) .. ("a"):rep(60)` on sixty letters takes longer than the sun
//! shines, and neither a deadline nor a signal reaches it. So where it may take long, the match is walked here first, in
//! the very steps that Lua takes, up to a number of them. Only what ends within it is then done by Lua. The walk follows
//! `lstrlib.c`, and knows less: what Lua answers with an error is left to Lua to find out.

/// What cannot take more steps than this is not looked at.
const FREE: u64 = 1 << 22;

/// How many steps Lua's matcher may take: some tens of milliseconds.
const STEPS_MAX: u64 = 20_000_000;

/// How many bytes a search for a plain text may compare, which it does many at a time.
const COMPARED_MAX: u64 = 1 << 34;

/// How deep the matcher may recurse; Lua says `pattern too complex` there.
const DEPTH_MAX: u32 = 200;

const CAPTURES_MAX: usize = 32;

/// What is done with a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Search {
    /// The first match, by `find`; with the text as it stands if that is said.
    Find { plain: bool },
    /// The first match, by `match`.
    Match,
    /// All matches, by `gmatch`, which knows no anchor.
    All,
    /// All matches, by `gsub`.
    Replace,
}

/// Whether Lua would be done with it soon. The search begins at the byte `from`.
pub(crate) fn is_quick(text: &[u8], pattern: &[u8], from: usize, search: Search) -> bool {
    if is_free(text.len() as u64, pattern) {
        return true;
    }
    let Some(text_left) = text.len().checked_sub(from) else {
        return true;
    };
    let is_plain = match search {
        Search::Find { plain } => plain || !pattern.iter().any(|letter| b"^$*+?.([%-".contains(letter)),
        Search::Match | Search::All | Search::Replace => false,
    };
    if is_plain {
        let compared = (text_left as u64).saturating_mul(pattern.len() as u64);
        return compared <= COMPARED_MAX;
    }
    let (pattern, is_anchored) = match pattern.strip_prefix(b"^") {
        Some(rest) if search != Search::All => (rest, true),
        _ => (pattern, false),
    };
    let mut walk = Walk {
        text,
        pattern,
        steps_left: STEPS_MAX,
        depth: 0,
        level: 0,
        captures: [(0, Capture::Open); CAPTURES_MAX],
    };
    let is_first_only = matches!(search, Search::Find { .. } | Search::Match);
    !matches!(
        walk.everywhere(from, is_anchored, is_first_only),
        Err(Stop::TooLong)
    )
}

/// Whether it is quick at worst: by how often the pattern lets a text of this length be divided.
fn is_free(text_len: u64, pattern: &[u8]) -> bool {
    let repeats = pattern.iter().filter(|letter| b"*+?-".contains(letter)).count();
    let balances = pattern.windows(2).filter(|pair| pair == b"%b").count();
    let divisions = u32::try_from(repeats + balances + 1).unwrap_or(u32::MAX);
    let steps = text_len.checked_pow(divisions);
    let steps = steps.and_then(|steps| steps.checked_mul(pattern.len() as u64));
    steps.is_some_and(|steps| steps <= FREE)
}

/// Why a walk ended before the match did.
enum Stop {
    TooLong,
    /// Lua raises an error there.
    Wrong,
}

type Matched = Result<Option<usize>, Stop>;

#[derive(Clone, Copy)]
enum Capture {
    Open,
    Position,
    Closed(usize),
}

struct Walk<'a> {
    text: &'a [u8],
    pattern: &'a [u8],
    steps_left: u64,
    depth: u32,
    level: usize,
    captures: [(usize, Capture); CAPTURES_MAX],
}

impl Walk<'_> {
    fn everywhere(&mut self, from: usize, is_anchored: bool, is_first_only: bool) -> Result<(), Stop> {
        let (mut at, mut last) = (from, None);
        loop {
            self.level = 0;
            self.depth = 0;
            let end = self.matched(at, 0)?;
            match end {
                Some(_) if is_first_only => return Ok(()),
                Some(end) if last != Some(end) => {
                    at = end;
                    last = Some(end);
                }
                _ if at < self.text.len() => at += 1,
                _ => return Ok(()),
            }
            if is_anchored {
                return Ok(());
            }
        }
    }

    fn steps(&mut self, count: usize) -> Result<(), Stop> {
        self.steps_left = self.steps_left.checked_sub(count as u64).ok_or(Stop::TooLong)?;
        Ok(())
    }

    fn at(&self, p: usize) -> Option<u8> {
        self.pattern.get(p).copied()
    }

    /// Where a match of the pattern from `p` on ends, if there is one at `s`.
    fn matched(&mut self, s: usize, p: usize) -> Matched {
        if self.depth >= DEPTH_MAX {
            return Err(Stop::Wrong);
        }
        self.depth += 1;
        let outcome = self.matched_here(s, p);
        self.depth -= 1;
        outcome
    }

    fn matched_here(&mut self, mut s: usize, mut p: usize) -> Matched {
        loop {
            self.steps(1)?;
            match (self.at(p), self.at(p + 1)) {
                (None, _) => return Ok(Some(s)),
                (Some(b'('), Some(b')')) => return self.captured(s, p + 2, Capture::Position),
                (Some(b'('), _) => return self.captured(s, p + 1, Capture::Open),
                (Some(b')'), _) => return self.closed(s, p + 1),
                (Some(b'$'), None) => return Ok((s == self.text.len()).then_some(s)),
                (Some(b'%'), Some(b'b')) => match self.balanced(s, p + 2)? {
                    Some(end) => (s, p) = (end, p + 4),
                    None => return Ok(None),
                },
                (Some(b'%'), Some(b'f')) => {
                    let end = self.class_end(p + 2)?;
                    let before = s.checked_sub(1).and_then(|before| self.text.get(before));
                    let (before, here) = (before.copied().unwrap_or(0), self.text.get(s).copied());
                    if self.fits(before, p + 2, end) || !self.fits(here.unwrap_or(0), p + 2, end) {
                        return Ok(None);
                    }
                    p = end;
                }
                (Some(b'%'), Some(number @ b'0'..=b'9')) => match self.repeated(s, number)? {
                    Some(end) => (s, p) = (end, p + 2),
                    None => return Ok(None),
                },
                _ => {
                    let end = self.class_end(p)?;
                    let is_here = self.fits_at(s, p, end)?;
                    match (self.at(end), is_here) {
                        (Some(b'?'), true) => {
                            if let Some(end) = self.matched(s + 1, end + 1)? {
                                return Ok(Some(end));
                            }
                            p = end + 1;
                        }
                        (Some(b'+'), true) => return self.longest(s + 1, p, end),
                        (Some(b'*'), true) => return self.longest(s, p, end),
                        (Some(b'-'), true) => return self.shortest(s, p, end),
                        (Some(b'*' | b'?' | b'-'), false) => p = end + 1,
                        (_, false) => return Ok(None),
                        (_, true) => (s, p) = (s + 1, end),
                    }
                }
            }
        }
    }

    fn longest(&mut self, s: usize, p: usize, end: usize) -> Matched {
        let mut more = 0;
        while self.fits_at(s + more, p, end)? {
            more += 1;
        }
        loop {
            if let Some(found) = self.matched(s + more, end + 1)? {
                return Ok(Some(found));
            }
            match more.checked_sub(1) {
                Some(fewer) => more = fewer,
                None => return Ok(None),
            }
        }
    }

    fn shortest(&mut self, mut s: usize, p: usize, end: usize) -> Matched {
        loop {
            if let Some(found) = self.matched(s, end + 1)? {
                return Ok(Some(found));
            }
            if !self.fits_at(s, p, end)? {
                return Ok(None);
            }
            s += 1;
        }
    }

    fn captured(&mut self, s: usize, p: usize, what: Capture) -> Matched {
        let level = self.level;
        *self.captures.get_mut(level).ok_or(Stop::Wrong)? = (s, what);
        self.level += 1;
        let found = self.matched(s, p)?;
        if found.is_none() {
            self.level = level;
        }
        Ok(found)
    }

    fn closed(&mut self, s: usize, p: usize) -> Matched {
        let open = self.captures.iter().take(self.level);
        let last = open
            .clone()
            .rposition(|(_, capture)| matches!(capture, Capture::Open));
        let capture = last
            .and_then(|last| self.captures.get_mut(last))
            .ok_or(Stop::Wrong)?;
        capture.1 = Capture::Closed(s.saturating_sub(capture.0));
        let found = self.matched(s, p)?;
        if found.is_none()
            && let Some(capture) = last.and_then(|last| self.captures.get_mut(last))
        {
            capture.1 = Capture::Open;
        }
        Ok(found)
    }

    /// A capture once more.
    fn repeated(&mut self, s: usize, number: u8) -> Matched {
        let index = usize::from(number)
            .checked_sub(usize::from(b'1'))
            .ok_or(Stop::Wrong)?;
        let capture = self.captures.iter().take(self.level).nth(index);
        let (start, len) = match capture.copied() {
            Some((start, Capture::Closed(len))) => (start, len),
            // To Lua, a position has a length that no text has: it is found nowhere, and that is no error.
            Some((_, Capture::Position)) => return Ok(None),
            Some((_, Capture::Open)) | None => return Err(Stop::Wrong),
        };
        self.steps(len / 16)?;
        let (known, here) = (self.text.get(start..start + len), self.text.get(s..s + len));
        Ok((here.is_some() && known == here).then_some(s + len))
    }

    /// `%bxy` at `s`.
    fn balanced(&mut self, s: usize, p: usize) -> Matched {
        let (Some(open), Some(close)) = (self.at(p), self.at(p + 1)) else {
            return Err(Stop::Wrong);
        };
        if self.text.get(s) != Some(&open) {
            return Ok(None);
        }
        let mut depth = 1_usize;
        let mut at = s + 1;
        while let Some(&letter) = self.text.get(at) {
            self.steps(1)?;
            at += 1;
            if letter == close {
                depth -= 1;
                if depth == 0 {
                    return Ok(Some(at));
                }
            } else if letter == open {
                depth += 1;
            }
        }
        Ok(None)
    }

    /// Where the class that begins at `p` ends.
    fn class_end(&self, p: usize) -> Result<usize, Stop> {
        match self.at(p).ok_or(Stop::Wrong)? {
            b'%' => self.at(p + 1).map(|_| p + 2).ok_or(Stop::Wrong),
            b'[' => {
                let mut at = if self.at(p + 1) == Some(b'^') {
                    p + 2
                } else {
                    p + 1
                };
                // The first letter of a set is of the set, whatever it is.
                loop {
                    let letter = self.at(at).ok_or(Stop::Wrong)?;
                    at += 1;
                    if letter == b'%' {
                        at += 1;
                    }
                    if self.at(at).ok_or(Stop::Wrong)? == b']' {
                        return Ok(at + 1);
                    }
                }
            }
            _ => Ok(p + 1),
        }
    }

    fn fits_at(&mut self, s: usize, p: usize, end: usize) -> Result<bool, Stop> {
        self.steps(1 + (end - p) / 4)?;
        Ok(self.text.get(s).is_some_and(|&letter| self.fits(letter, p, end)))
    }

    /// Whether a letter is of the class from `p` to `end`.
    fn fits(&self, letter: u8, p: usize, end: usize) -> bool {
        match self.at(p) {
            Some(b'.') => true,
            Some(b'%') => self.at(p + 1).is_some_and(|class| is_of(letter, class)),
            Some(b'[') => self.is_in_set(letter, p + 1, end - 1),
            known => known == Some(letter),
        }
    }

    fn is_in_set(&self, letter: u8, mut p: usize, end: usize) -> bool {
        let is_inverse = self.at(p) == Some(b'^');
        if is_inverse {
            p += 1;
        }
        while p < end {
            let (first, second, third) = (self.at(p), self.at(p + 1), self.at(p + 2));
            let (is_it, len) = match (first, second, third) {
                (Some(b'%'), Some(class), _) => (is_of(letter, class), 2),
                (Some(from), Some(b'-'), Some(to)) if p + 2 < end => ((from..=to).contains(&letter), 3),
                (known, ..) => (known == Some(letter), 1),
            };
            if is_it {
                return !is_inverse;
            }
            p += len;
        }
        is_inverse
    }
}

/// Whether a letter is of a class such as `%a`, or is the letter that is written with a `%`.
fn is_of(letter: u8, class: u8) -> bool {
    let is_it = match class.to_ascii_lowercase() {
        b'a' => letter.is_ascii_alphabetic(),
        b'c' => letter.is_ascii_control(),
        b'd' => letter.is_ascii_digit(),
        b'g' => letter.is_ascii_graphic(),
        b'l' => letter.is_ascii_lowercase(),
        b'p' => letter.is_ascii_punctuation(),
        b's' => matches!(letter, b' ' | b'\t'..=b'\r'),
        b'u' => letter.is_ascii_uppercase(),
        b'w' => letter.is_ascii_alphanumeric(),
        b'x' => letter.is_ascii_hexdigit(),
        _ => return class == letter,
    };
    is_it != class.is_ascii_uppercase()
}

#[cfg(test)]
#[path = "patterns/tests.rs"]
mod tests;
