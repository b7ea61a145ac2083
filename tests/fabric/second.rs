//! A second process of a binary, beside the one that the fabric started.

use std::{fs, net::SocketAddr, path::Path};

use anyhow::Result;
use toml::Table;

use crate::{Fabric, Launch, Part, Process, Server, binaries, home, settings, wire::Wire};

impl Fabric {
    /// Starts another process of a binary, configured like the first one but for its ports. Whoever wants it to
    /// serve waits for it.
    pub fn another(&mut self, part: Part) -> Result<Server> {
        self.another_with(part, Table::new())
    }

    /// The same, with settings laid over those of the first one.
    pub fn another_with(&mut self, part: Part, stronger: Table) -> Result<Server> {
        let binaries = self.binaries.clone();
        self.another_of(part, binaries.as_deref(), stronger)
    }

    /// The same with the binary of this directory, where there is one.
    pub(crate) fn another_of(&mut self, part: Part, binaries: Option<&Path>, stronger: Table) -> Result<Server> {
        let listen = self.ports.reserve()?;
        self.beside(part, listen, binaries, stronger, None)
    }

    /// The same as `another_with`, at the end of a wire.
    pub fn another_at(&mut self, part: Part, wire: Option<&Wire>, stronger: Table) -> Result<Server> {
        let (listen, binaries) = (self.ports.reserve()?, self.binaries.clone());
        self.beside(part, listen, binaries.as_deref(), stronger, wire)
    }

    /// The same for one that is to take the place of the first: it serves at the same address.
    pub fn successor(&mut self, part: Part) -> Result<Server> {
        let (listen, binaries) = (self.server(part).listen, self.binaries.clone());
        self.beside(part, listen, binaries.as_deref(), Table::new(), None)
    }

    fn beside(
        &mut self,
        part: Part,
        listen: SocketAddr,
        binaries: Option<&Path>,
        stronger: Table,
        wire: Option<&Wire>,
    ) -> Result<Server> {
        let at = |address: SocketAddr| SocketAddr::new(wire.map_or(address.ip(), Wire::host), address.port());
        let (listen, admin, internal) = (at(listen), at(self.ports.reserve()?), at(self.ports.reserve()?));
        // Several may serve at one address, one after the other.
        let name = format!("{}-{}", part.name(), admin.port());
        let first = fs::read_to_string(self.home.config(part.name()))?;
        let mut settings = settings::moved(&first, listen, admin, internal)?;
        settings::merge(&mut settings, stronger);
        let is_encrypted = settings::is_encrypted(&settings);
        home::write(&self.home.config(&name), settings.to_string())?;
        let launch = Launch {
            program: binaries::among(binaries, &format!("accord-{}", part.name()))?,
            arguments: vec!["serve".into(), "--config".into(), self.home.config(&name).into()],
            environment: Vec::new(),
            log: self.home.log(&name),
            name,
        };
        let launch = if let Some(wire) = wire { wire.launch(launch) } else { launch };
        let services = self.server(part).services.clone();
        Ok(Server { process: Process::start(launch)?, listen, admin, is_encrypted, services })
    }

    fn server(&self, part: Part) -> &Server {
        match part {
            Part::Gateway => &self.gateway,
            Part::Auth => &self.auth,
            Part::Catalog => &self.catalog,
            Part::Cache => &self.cache,
            Part::Orders => self.orders.as_ref().unwrap_or(&self.catalog),
        }
    }
}
