//! Which of the kernel's paths are used: those through which the probe's bytes came.

use twinmesh_kernel_backend::datapath::probe::Probed;
use twinmesh_kernel_backend::datapath::shape::flag;

/// The paths beside the one to the agent, without which there is none; the error is why a path is
/// not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// Requests go from socket to socket.
    pub splice: Result<(), String>,
    /// Endpoints are chosen at connect(2).
    pub connect_time: Result<(), String>,
}

impl Paths {
    /// All of them, unseen.
    pub const ALL: Self = Self {
        splice: Ok(()),
        connect_time: Ok(()),
    };

    /// Those that carried the probe's bytes.
    ///
    /// # Errors
    /// Why connections cannot even be taken to the agent.
    pub fn of(probed: &[Probed]) -> Result<Self, String> {
        let of = |path: &str| {
            let outcome = probed.iter().find(|probed| probed.path == path);
            match outcome.map(|probed| &probed.outcome) {
                Some(Ok(_)) => Ok(()),
                Some(Err(why)) => Err(why.clone()),
                None => Err("it was not tried".to_owned()),
            }
        };
        for path in ["load", "attach", "redirect"] {
            of(path).map_err(|why| format!("the path `{path}` does not work here: {why}"))?;
        }
        Ok(Self {
            splice: of("splice"),
            connect_time: of("connect_time"),
        })
    }

    /// What the programs may do.
    pub fn flags(&self) -> u64 {
        let when = |path: &Result<(), String>, flag: u64| if path.is_ok() { flag } else { 0 };
        flag::REDIRECT
            | when(&self.splice, flag::SPLICE)
            | when(&self.connect_time, flag::CONNECT_TIME)
    }

    /// Says in the log what does not work, and what goes on.
    pub fn tell(&self) {
        match (&self.splice, &self.connect_time) {
            (Ok(()), Ok(())) => {}
            (Err(splice), Err(connect)) => tracing::warn!(
                "connections are taken in the kernel, and all go through the proxy: the path \
                 `splice` does not work here: {splice}; nor does `connect_time`: {connect}"
            ),
            (Err(why), Ok(())) => tracing::warn!(
                "connections are taken in the kernel, and their requests go through the proxy, \
                 except where the endpoint is chosen at connect(2): the path `splice` does not \
                 work here: {why}"
            ),
            (Ok(()), Err(why)) => tracing::warn!(
                "requests are spliced in the kernel, and no endpoint is chosen at connect(2): the \
                 path `connect_time` does not work here: {why}"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A probe's outcomes up to the last path; the given ones failed.
    fn probed(last: &str, failed: &[&str]) -> Vec<Probed> {
        let mut all = Vec::new();
        for path in ["load", "attach", "redirect", "splice", "connect_time"] {
            let outcome = if failed.contains(&path) {
                Err(format!("{path} is broken"))
            } else {
                Ok("bytes came".to_owned())
            };
            all.push(Probed { path, outcome });
            if path == last {
                break;
            }
        }
        all
    }

    #[test]
    fn all_that_came_through_is_used() {
        let paths = Paths::of(&probed("connect_time", &[])).expect("it takes part");
        assert_eq!(paths, Paths::ALL);
        assert_eq!(
            paths.flags(),
            flag::REDIRECT | flag::SPLICE | flag::CONNECT_TIME
        );
    }

    #[test]
    fn each_path_fails_by_itself() {
        for (failed, flags) in [
            (&["splice"][..], flag::REDIRECT | flag::CONNECT_TIME),
            (&["connect_time"], flag::REDIRECT | flag::SPLICE),
            (&["splice", "connect_time"], flag::REDIRECT),
        ] {
            let paths = Paths::of(&probed("connect_time", failed)).expect("it takes part");
            assert_eq!(paths.flags(), flags, "{failed:?}");
            let whys = [paths.splice, paths.connect_time];
            let whys: Vec<String> = whys.into_iter().filter_map(Result::err).collect();
            let expected = failed.iter().map(|path| format!("{path} is broken"));
            assert_eq!(whys, expected.collect::<Vec<_>>());
        }
    }

    #[test]
    fn nothing_is_used_without_the_way_to_the_agent() {
        for failed in ["load", "attach", "redirect"] {
            let why = Paths::of(&probed(failed, &[failed])).expect_err("it fails");
            assert!(why.contains(&format!("{failed} is broken")), "{why}");
            // Whatever came after it.
            let why = Paths::of(&probed("connect_time", &[failed])).expect_err("it fails");
            assert!(why.contains(&format!("`{failed}`")), "{why}");
        }
        assert!(Paths::of(&[]).is_err());
        assert!(Paths::of(&probed("attach", &[])).is_err());
    }

    #[test]
    fn what_was_not_tried_is_not_used() {
        let paths = Paths::of(&probed("redirect", &[])).expect("it takes part");
        assert_eq!(paths.flags(), flag::REDIRECT);
    }
}
