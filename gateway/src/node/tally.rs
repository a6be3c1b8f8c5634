//! Tells the cluster how many sessions this node has in each tenant, for statistics.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use broker::Broker;
use futures_util::{StreamExt, stream};
use proto::Tenant;
use tokio::time::{self, Instant};

use crate::hub::Hub;

/// How often to look whether the numbers changed.
const LOOK: Duration = Duration::from_secs(2);

/// How often to tell all of them, whether or not they changed: Redis may have forgotten.
const ALL: Duration = Duration::from_secs(60);

/// How many tenants are told at a time.
const WIDTH: usize = 16;

/// Tells until the task is dropped.
pub(crate) async fn run(hub: Arc<Hub>, broker: Arc<dyn Broker>) {
    let mut told: HashMap<Tenant, u64> = HashMap::new();
    let mut all_told = Instant::now();
    loop {
        time::sleep(LOOK).await;
        let all = all_told.elapsed() >= ALL;
        if all {
            all_told = Instant::now();
        }
        let now = hub.sessions_by_tenant();
        let gone = told.keys().filter(|tenant| !now.contains_key(*tenant)).map(|tenant| (tenant.clone(), 0));
        let news: Vec<_> = gone.chain(now.iter().map(|(tenant, count)| (tenant.clone(), *count))).collect();
        let news = news.into_iter().filter(|(tenant, count)| all || told.get(tenant) != Some(count));
        let broker = &broker;
        let telling = stream::iter(news.collect::<Vec<_>>()).map(|(tenant, count)| async move {
            let outcome = broker.report_sessions(&tenant, count).await;
            (tenant, count, outcome)
        });
        let outcomes: Vec<_> = telling.buffer_unordered(WIDTH).collect().await;
        for (tenant, count, outcome) in outcomes {
            match outcome {
                Ok(()) if count == 0 => _ = told.remove(&tenant),
                Ok(()) => _ = told.insert(tenant, count),
                // It is told the next time.
                Err(error) => tracing::debug!(%error, "the number of sessions was not told"),
            }
        }
    }
}
