//! Lists, page by page. Each page is one question to the event loop and walks at most [`WORK_OF_A_PAGE`] entries of the view.
//!
//! A page is bounded in bytes too: how long an entry is depends on how many torrents there are and on what they call themselves, and a page
//! that is larger than a message could not be had at all. Each page comes with the place behind which the next one begins, if there is one.

use std::collections::BTreeMap;
use std::ops::Bound;

use prost::Message;
use protocol::{ClientId, Hash};

use super::describe::{Servers, describe_file, describe_fragment, describe_server};
use crate::catalog::Catalog;
use crate::errors::Refusal;
use crate::names::{List, server_name};
use crate::proto;

/// Most files and fragments that one page looks at: some milliseconds of the event loop. A page that reaches it ends early.
const WORK_OF_A_PAGE: usize = 20_000;

/// Most bytes of a page's entries, unless it has only one: well below what a message may have.
const PAGE_BYTES: usize = 512 << 10;

/// What surrounds an entry in its page, in bytes: its tag and its length.
const ENTRY_BYTES: usize = 8;

fn bytes_of(entry: &impl Message) -> usize {
    entry.encoded_len() + ENTRY_BYTES
}

/// The room of one page.
struct Room {
    entries: usize,
    page_size: usize,
    bytes: usize,
}

impl Room {
    const fn of(page_size: usize) -> Self {
        Self { entries: 0, page_size, bytes: 0 }
    }

    /// Whether an entry of so many bytes still goes on the page. The first always does.
    const fn takes(&mut self, bytes: usize) -> bool {
        let is_taken =
            self.entries == 0 || (self.entries < self.page_size && self.bytes + bytes <= PAGE_BYTES);
        if is_taken {
            self.entries += 1;
            self.bytes += bytes;
        }
        is_taken
    }
}

pub fn servers_page(
    catalog: &dyn Catalog,
    after: Option<&ClientId>,
    page_size: usize,
) -> (Vec<proto::Server>, Option<ClientId>) {
    let servers = Servers::of(catalog);
    let mut room = Room::of(page_size);
    let mut page = Vec::new();
    let mut last: Option<&ClientId> = None;
    for server in servers.all().filter(|server| after.is_none_or(|after| server.id > *after)) {
        let described = describe_server(server);
        if !room.takes(bytes_of(&described)) {
            return (page, last.cloned());
        }
        page.push(described);
        last = Some(&server.id);
    }
    (page, None)
}

/// Which files a list is to contain.
pub struct FileFilter {
    pub name_contains: String,
    pub name: String,
    pub digest_prefix: String,
}

impl FileFilter {
    pub const fn everything() -> Self {
        Self { name_contains: String::new(), name: String::new(), digest_prefix: String::new() }
    }

    /// The filter that a request means.
    pub fn of(request: &proto::ListFilesRequest) -> Result<Self, Refusal> {
        let prefix = request.digest_prefix.to_ascii_lowercase();
        let prefix = prefix.strip_prefix("sha256:").unwrap_or(&prefix);
        if prefix.len() > 64 || !prefix.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Refusal::InvalidField {
                field: "digest_prefix",
                problem: "use at most 64 hex digits".into(),
            });
        }
        Ok(Self {
            name_contains: request.display_name_contains.clone(),
            name: request.display_name.clone(),
            digest_prefix: prefix.into(),
        })
    }

    /// The list of the files that match, as its page tokens tell it.
    pub fn list(&self) -> List {
        let Self { name_contains, name, digest_prefix } = self;
        List::new(&format!("files {name_contains:?} {name:?} {digest_prefix}"))
    }

    /// The first digest that can match: the prefix and zeros.
    fn first_digest(&self) -> Option<Hash> {
        format!("{:0<64}", self.digest_prefix).parse().ok()
    }

    fn is_behind(&self, digest: &str) -> bool {
        !digest.starts_with(&self.digest_prefix)
    }

    fn matches(&self, name: &str) -> bool {
        name.contains(&self.name_contains) && (self.name.is_empty() || name == self.name)
    }
}

pub fn files_page(
    catalog: &dyn Catalog,
    filter: &FileFilter,
    after: Option<Hash>,
    page_size: usize,
) -> (Vec<proto::File>, Option<Hash>) {
    let servers = Servers::of(catalog);
    let start = match after {
        Some(after) => Bound::Excluded(after),
        None => filter.first_digest().map_or(Bound::Unbounded, Bound::Included),
    };
    let mut files = Vec::new();
    let mut room = Room::of(page_size);
    let mut work = 0;
    let mut last = None;
    for (hash, info) in catalog.view().files().range((start, Bound::Unbounded)) {
        if !filter.digest_prefix.is_empty() && filter.is_behind(&hash.to_string()) {
            break;
        }
        if files.len() == page_size || work >= WORK_OF_A_PAGE {
            return (files, last);
        }
        work += 1;
        if filter.matches(info.name.as_ref().map_or("", |name| name.as_str())) {
            work += info.fragments.len();
            let described = describe_file(catalog, &servers, hash, info);
            if !room.takes(bytes_of(&described)) {
                return (files, last);
            }
            files.push(described);
        }
        last = Some(*hash);
    }
    (files, None)
}

pub struct FragmentsPage {
    pub fragments: Vec<proto::Fragment>,
    /// The holders that the fragments name.
    pub servers: Vec<proto::Server>,
    pub next: Option<usize>,
}

pub fn fragments_page(
    catalog: &dyn Catalog,
    file: Hash,
    start: usize,
    page_size: usize,
) -> Result<FragmentsPage, Refusal> {
    let view = catalog.view();
    let info = view.file(&file).ok_or(Refusal::FileNotFound(file))?;
    if start > info.fragments.len() {
        return Err(Refusal::InvalidPageToken);
    }
    let servers = Servers::of(catalog);
    let fragment_size = view.fragment_size_bytes().unwrap_or(info.size_bytes);
    let mut room = Room::of(page_size);
    let mut named: BTreeMap<&ClientId, proto::Server> = BTreeMap::new();
    let mut fragments = Vec::new();
    for (index, fragment) in info.fragments.iter().enumerate().skip(start) {
        let offset = index as u64 * fragment_size;
        let size = fragment_size.min(info.size_bytes.saturating_sub(offset));
        let mut holders = servers.holders(catalog, fragment);
        if fragments.is_empty() {
            keep_what_fits(&mut holders, &servers);
        }
        let described = describe_fragment(catalog, fragment, size, offset, &holders);
        let new: Vec<_> = holders
            .into_iter()
            .filter(|id| !named.contains_key(id))
            .filter_map(|id| Some((id, describe_server(servers.get(id)?))))
            .collect();
        let of_servers: usize = new.iter().map(|(_, server)| bytes_of(server)).sum();
        if !room.takes(bytes_of(&described) + of_servers) {
            break;
        }
        named.extend(new);
        fragments.push(described);
    }
    let next = Some(start + fragments.len()).filter(|end| *end < info.fragments.len());
    Ok(FragmentsPage { fragments, servers: named.into_values().collect(), next })
}

/// Where the holders of one fragment alone are more than a page takes, the first of them must do.
fn keep_what_fits(holders: &mut Vec<&ClientId>, servers: &Servers) {
    let mut bytes = 0;
    let fit = holders.iter().take_while(|id| {
        let described = servers.get(id).map_or(0, |server| bytes_of(&describe_server(server)));
        bytes += described + server_name(id).len() + ENTRY_BYTES;
        bytes <= PAGE_BYTES
    });
    let number = fit.count();
    holders.truncate(number);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use distribution::view::{Change, FileInfo, Registration, View};

    use super::*;
    use crate::catalog::{Copies, Role, ServerStatus};
    use crate::serve::MAX_MESSAGE_BYTES;

    struct Crowd(View);

    impl Catalog for Crowd {
        fn view(&self) -> &View {
            &self.0
        }
        fn copies(&self) -> Copies {
            Copies::from_number(0)
        }
        fn stores(&self, _: &Hash) -> bool {
            false
        }
        fn servers(&self) -> Vec<ServerStatus> {
            let clients = self.0.clients().iter();
            clients.map(|(id, client)| ServerStatus::registered(id.clone(), client, None)).collect()
        }
        fn broker_connected(&self) -> bool {
            true
        }
        fn tracker_online(&self) -> bool {
            true
        }
        fn role(&self) -> Role {
            Role::Tracker
        }
        fn id(&self) -> &str {
            "tracker"
        }
    }

    const TORRENTS: usize = 600;

    /// Torrents with many long endpoints, all of which hold the only fragment of the only file.
    fn crowd(file: Hash) -> Crowd {
        let mut view = View::new();
        let info = FileInfo { size_bytes: 1, fragments: [file].into(), name: None };
        let mut changes = vec![
            Change::FragmentSizeSet { fragment_size_bytes: 1024 },
            Change::FilePublished { hash: file, file: info },
        ];
        changes.extend((0..TORRENTS).map(|number| {
            let endpoint = |port: u16| format!("grpc://{:a>200}:{port}", number).parse().unwrap();
            let endpoints: BTreeSet<_> = (1..=16).map(endpoint).collect();
            let registration = Registration { endpoints, capacity_bytes: None, zone: None };
            let client = format!("{number:t>64}").parse().unwrap();
            Change::ClientRegistered { client, registration, stored: BTreeSet::from([file]) }
        }));
        changes.iter().for_each(|change| view.apply(change).unwrap());
        Crowd(view)
    }

    #[test]
    fn a_page_of_torrents_that_say_much_of_themselves_fits_into_a_message() {
        let crowd = crowd(Hash::of(b"x"));
        let mut after: Option<ClientId> = None;
        let mut listed = 0;
        loop {
            let (servers, next) = servers_page(&crowd, after.as_ref(), 1000);
            let page = proto::ListServersResponse { servers, ..Default::default() };
            assert!(!page.servers.is_empty() && page.encoded_len() < MAX_MESSAGE_BYTES / 2);
            listed += page.servers.len();
            after = next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(listed, TORRENTS);
    }

    #[test]
    fn a_fragment_with_more_holders_than_a_message_takes_is_listed_with_some_of_them() {
        let file = Hash::of(b"x");
        let FragmentsPage { fragments, servers, next } = fragments_page(&crowd(file), file, 0, 1000).unwrap();
        assert_eq!(next, None);
        let page = proto::ListFragmentsResponse { fragments, servers, ..Default::default() };
        assert!(page.encoded_len() < MAX_MESSAGE_BYTES);
        let [fragment] = &page.fragments[..] else { panic!("{} fragments", page.fragments.len()) };
        assert!((1..TORRENTS).contains(&fragment.holders.len()));
        assert_eq!(fragment.holders.len(), page.servers.len());
    }
}
