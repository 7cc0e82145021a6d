//! The figures as Markdown, with the bars that they are held to.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::sample::{Job, Key, Role, Sample, Spread, Subject};

/// One measurement, for people who wait.
pub fn line(sample: &Sample) -> String {
    let Key { job, subject, fragment_size_bytes } = sample.key;
    let roles = [Role::Client, Role::Tracker, Role::Torrent, Role::Broker];
    let by_role = roles.iter().filter(|role| sample.cpu_s.contains_key(role)).map(|role| {
        let peak = sample.peak_bytes.get(role).copied().unwrap_or(0) as f64 / f64::from(1 << 20);
        format!("{} {:.2} s/GB {peak:.0} MiB", role_name(*role), sample.cpu_per_gb(Some(*role)))
    });
    format!(
        "{:5} {} {:4} KiB: {:6.1} MB/s {:6.2} CPU s/GB ({})",
        subject_name(subject),
        job_name(job),
        fragment_size_bytes >> 10,
        sample.rate(),
        sample.cpu_per_gb(None),
        by_role.collect::<Vec<_>>().join(", ")
    )
}

/// All measurements: medians and, in parentheses, the lowest and the highest.
pub fn markdown(samples: &[Sample], copies: usize) -> String {
    let figures = Figures { samples, copies };
    let mut text = String::new();
    for job in [Job::Put, Job::Get] {
        figures.table(job, &mut text);
    }
    figures.sizes(&mut text);
    figures.bars(&mut text);
    text
}

struct Figures<'a> {
    samples: &'a [Sample],
    copies: usize,
}

impl Figures<'_> {
    fn of(&self, key: Key) -> impl Iterator<Item = &Sample> + Clone {
        self.samples.iter().filter(move |sample| sample.key == key)
    }

    fn spread(&self, key: Key, figure: impl Fn(&Sample) -> Option<f64>) -> Option<Spread> {
        Spread::of(self.of(key).filter_map(figure))
    }

    fn median(&self, key: Key, figure: impl Fn(&Sample) -> f64) -> Option<f64> {
        self.spread(key, |sample| Some(figure(sample))).map(|spread| spread.median)
    }

    fn keys(&self, job: Job) -> BTreeSet<Key> {
        self.samples.iter().map(|sample| sample.key).filter(|key| key.job == job).collect()
    }

    fn sizes_of(&self, job: Job) -> BTreeSet<u64> {
        self.keys(job).into_iter().map(|key| key.fragment_size_bytes).collect()
    }

    fn table(&self, job: Job, text: &mut String) {
        let keys = self.keys(job);
        if keys.is_empty() {
            return;
        }
        let _ = writeln!(
            text,
            "| {} | fragments | MB/s | CPU s/GB | client | tracker | torrents | broker | peak MiB: client / tracker / torrent / broker |",
            job_name(job)
        );
        text.push_str("|---|---|---|---|---|---|---|---|---|\n");
        for key in keys {
            let rate = self.spread(key, |sample| Some(sample.rate()));
            let cpu = self.spread(key, |sample| Some(sample.cpu_per_gb(None)));
            let _ = write!(text, "| {} | {} KiB |", subject_name(key.subject), key.fragment_size_bytes >> 10);
            let _ = write!(text, " {} | {} |", with_range(rate, 0), with_range(cpu, 2));
            for role in ROLES {
                let cpu = self.spread(key, |sample| {
                    sample.cpu_s.contains_key(&role).then(|| sample.cpu_per_gb(Some(role)))
                });
                let _ = write!(text, " {} |", number(cpu.map(|cpu| cpu.median), 2));
            }
            let peaks = ROLES.map(|role| {
                let peak = self.spread(key, |sample| sample.peak_bytes.get(&role).map(|bytes| mib(*bytes)));
                number(peak.map(|peak| peak.max), 0)
            });
            let _ = writeln!(text, " {} |", peaks.join(" / "));
        }
        text.push('\n');
    }

    /// What is left on disk and in memory.
    fn sizes(&self, text: &mut String) {
        let ours = self.keys(Job::Put).into_iter().filter(|key| key.subject == Subject::Ours);
        let mut ours = ours.peekable();
        if ours.peek().is_none() {
            return;
        }
        text.push_str("| ours, after the put | disk / (copies x bytes) | view on disk, bytes a fragment and copy | view in memory, bytes a fragment and copy |\n|---|---|---|---|\n");
        for key in ours {
            let disk = self.spread(key, |sample| Some(self.disk_ratio(sample)));
            let view_disk = self.spread(key, |sample| sample.view_disk_bytes);
            let view_memory = self.spread(key, |sample| sample.view_memory_bytes);
            let _ = writeln!(
                text,
                "| {} KiB | {} | {} | {} |",
                key.fragment_size_bytes >> 10,
                with_range(disk, 4),
                with_range(view_disk, 0),
                with_range(view_memory, 0)
            );
        }
        text.push('\n');
    }

    fn disk_ratio(&self, sample: &Sample) -> f64 {
        sample.disk_bytes.unwrap_or(0) as f64 / (sample.file_bytes as f64 * self.copies as f64)
    }

    fn bars(&self, text: &mut String) {
        text.push_str("| bar | fragments | wanted | measured | met |\n|---|---|---|---|---|\n");
        let key = |job, subject, fragment_size_bytes| Key { job, subject, fragment_size_bytes };
        let mut bar = |name: &str, fragments: &str, wanted: &str, measured: Option<f64>, is_met: bool| {
            if let Some(measured) = measured {
                let met = if is_met { "yes" } else { "**no**" };
                let _ = writeln!(text, "| {name} | {fragments} | {wanted} | {measured:.2} | {met} |");
            }
        };
        for size in self.sizes_of(Job::Put) {
            let [floor, ideal, ours] =
                [Subject::Floor, Subject::Ideal, Subject::Ours].map(|subject| key(Job::Put, subject, size));
            let fragments = format!("{} KiB", size >> 10);
            let cpu = |key| self.median(key, |sample| sample.cpu_per_gb(None));
            let ratio = ratio(cpu(ours), cpu(floor));
            bar(
                "put, CPU / floor's",
                &fragments,
                "at most 4",
                ratio,
                ratio.is_some_and(|ratio| ratio <= 4.0),
            );
            let ratio = self::ratio(self.median(ours, Sample::rate), self.median(ideal, Sample::rate));
            bar(
                "put, MB/s / ideal's",
                &fragments,
                "at least 0.6",
                ratio,
                ratio.is_some_and(|ratio| ratio >= 0.6),
            );
            let ratio = self::ratio(cpu(ours), cpu(ideal));
            bar("put, CPU / ideal's", &fragments, "(none)", ratio, true);
        }
        let rate = |size| self.median(key(Job::Put, Subject::Ours, size), Sample::rate);
        let ratio = ratio(rate(64 << 10), rate(1 << 20));
        bar(
            "put, MB/s / that of 1 MiB",
            "64 KiB",
            "at least 0.8",
            ratio,
            ratio.is_some_and(|ratio| ratio >= 0.8),
        );
        for size in self.sizes_of(Job::Get) {
            let [ideal, ours] = [Subject::Ideal, Subject::Ours].map(|subject| key(Job::Get, subject, size));
            let ratio = self::ratio(self.median(ours, Sample::rate), self.median(ideal, Sample::rate));
            bar("get, MB/s / ideal's", &format!("{} KiB", size >> 10), "(none)", ratio, true);
            let other = key(Job::Get, Subject::BitTorrent, size);
            let ratio = self::ratio(self.median(ours, Sample::rate), self.median(other, Sample::rate));
            let is_met = ratio.is_some_and(|ratio| ratio >= 0.7);
            bar("get, MB/s / rqbit's", &format!("{} KiB", size >> 10), "at least 0.7", ratio, is_met);
        }
        for size in self.sizes_of(Job::Put) {
            let fragments = format!("{} KiB", size >> 10);
            let put = key(Job::Put, Subject::Ours, size);
            for (role, name) in
                [(Role::Tracker, "peak MiB of the tracker"), (Role::Torrent, "peak MiB of a torrent")]
            {
                let peak = self.spread(put, |sample| sample.peak_bytes.get(&role).map(|bytes| mib(*bytes)));
                let peak = peak.map(|peak| peak.max);
                bar(name, &fragments, "at most 64", peak, peak.is_some_and(|peak| peak <= 64.0));
            }
            let disk = self.median(put, |sample| self.disk_ratio(sample));
            bar(
                "disk / (copies x bytes)",
                &fragments,
                "at most 1.02",
                disk,
                disk.is_some_and(|disk| disk <= 1.02),
            );
            let view = self.spread(put, |sample| sample.view_disk_bytes).map(|view| view.median);
            bar(
                "view, bytes a fragment and copy",
                &fragments,
                "under 200",
                view,
                view.is_some_and(|view| view < 200.0),
            );
        }
    }
}

const ROLES: [Role; 4] = [Role::Client, Role::Tracker, Role::Torrent, Role::Broker];

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn ratio(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    Some(one? / other?)
}

fn number(figure: Option<f64>, decimals: usize) -> String {
    figure.map_or_else(|| "-".to_owned(), |figure| format!("{figure:.decimals$}"))
}

fn with_range(spread: Option<Spread>, decimals: usize) -> String {
    match spread {
        None => "-".to_owned(),
        Some(Spread { median, min, max }) if min == max => format!("{median:.decimals$}"),
        Some(Spread { median, min, max }) => {
            format!("{median:.decimals$} ({min:.decimals$} to {max:.decimals$})")
        }
    }
}

fn job_name(job: Job) -> &'static str {
    match job {
        Job::Put => "put",
        Job::Get => "get",
    }
}

fn subject_name(subject: Subject) -> &'static str {
    match subject {
        Subject::Floor => "floor",
        Subject::Ideal => "ideal",
        Subject::Ours => "ours",
        Subject::BitTorrent => "rqbit",
    }
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::Client => "client",
        Role::Tracker => "tracker",
        Role::Torrent => "torrents",
        Role::Broker => "broker",
    }
}
