//! Lists, page by page. Each page is one question to the event loop and walks at most [`WORK_OF_A_PAGE`] entries of the view.

use std::collections::BTreeSet;
use std::ops::Bound;

use protocol::{ClientId, Hash};

use super::describe::{Servers, describe_file, describe_fragment, describe_server};
use crate::catalog::Catalog;
use crate::errors::Refusal;
use crate::proto;

/// Most files and fragments that one page looks at: some milliseconds of the event loop. A page that reaches it ends early.
const WORK_OF_A_PAGE: usize = 20_000;

pub fn servers_page(
    catalog: &dyn Catalog,
    after: Option<&ClientId>,
    page_size: usize,
) -> proto::ListServersResponse {
    let servers = Servers::of(catalog);
    let mut rest = servers.all().filter(|server| after.is_none_or(|after| server.id > *after));
    let page: Vec<_> = rest.by_ref().take(page_size).collect();
    let next = page.last().filter(|_| rest.next().is_some());
    proto::ListServersResponse {
        next_page_token: next.map(|server| server.id.to_string()).unwrap_or_default(),
        servers: page.into_iter().map(describe_server).collect(),
    }
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
) -> proto::ListFilesResponse {
    let servers = Servers::of(catalog);
    let start = match after {
        Some(after) => Bound::Excluded(after),
        None => filter.first_digest().map_or(Bound::Unbounded, Bound::Included),
    };
    let mut files = Vec::new();
    let mut work = 0;
    let mut last = None;
    for (hash, info) in catalog.view().files().range((start, Bound::Unbounded)) {
        if !filter.digest_prefix.is_empty() && filter.is_behind(&hash.to_string()) {
            break;
        }
        if files.len() == page_size || work >= WORK_OF_A_PAGE {
            let next_page_token = last.map(|hash: Hash| hash.to_string()).unwrap_or_default();
            return proto::ListFilesResponse { files, next_page_token };
        }
        work += 1;
        if filter.matches(info.name.as_ref().map_or("", |name| name.as_str())) {
            work += info.fragments.len();
            files.push(describe_file(catalog, &servers, hash, info));
        }
        last = Some(*hash);
    }
    proto::ListFilesResponse { files, next_page_token: String::new() }
}

pub fn fragments_page(
    catalog: &dyn Catalog,
    file: Hash,
    start: usize,
    page_size: usize,
) -> Result<proto::ListFragmentsResponse, Refusal> {
    let view = catalog.view();
    let info = view.file(&file).ok_or(Refusal::FileNotFound(file))?;
    if start > info.fragments.len() {
        return Err(Refusal::InvalidPageToken);
    }
    let servers = Servers::of(catalog);
    let fragment_size = view.fragment_size_bytes().unwrap_or(info.size_bytes);
    let end = start.saturating_add(page_size).min(info.fragments.len());
    let mut named = BTreeSet::new();
    let mut fragments = Vec::with_capacity(end - start);
    for (index, fragment) in (start..end).zip(&info.fragments[start..end]) {
        let offset = index as u64 * fragment_size;
        let size = fragment_size.min(info.size_bytes.saturating_sub(offset));
        let holders = servers.holders(catalog, fragment);
        named.extend(holders.iter().copied());
        fragments.push(describe_fragment(catalog, fragment, size, offset, &holders));
    }
    let has_more = end < info.fragments.len();
    Ok(proto::ListFragmentsResponse {
        fragments,
        servers: named.into_iter().filter_map(|id| servers.get(id)).map(describe_server).collect(),
        next_page_token: if has_more { end.to_string() } else { String::new() },
    })
}
