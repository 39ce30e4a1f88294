#!/usr/bin/env bash
# The demo: two tables from a change feed that was captured from PostgreSQL, by spark-submit, each compared
# row for row with PostgreSQL's own final table.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=${1:-$(mktemp -d)}
progress=false
if [ -t 2 ]; then progress=true; fi
jars=$(python -m andes_spark.spark.jars --cache-dir .cache/jars)

submit() {
    PYSPARK_PYTHON=$(command -v python) spark-submit --master 'local[2]' --driver-memory 2g --jars "$jars" \
        --conf spark.sql.extensions=io.delta.sql.DeltaSparkSessionExtension \
        --conf spark.sql.catalog.spark_catalog=org.apache.spark.sql.delta.catalog.DeltaCatalog \
        --conf spark.ui.enabled=false --conf spark.sql.shuffle.partitions=2 \
        --conf spark.databricks.delta.snapshotPartitions=4 --conf "spark.ui.showConsoleProgress=$progress" \
        --conf spark.driver.host=127.0.0.1 --conf spark.driver.bindAddress=127.0.0.1 \
        --conf "spark.driver.extraJavaOptions=-Dlog4j2.configurationFile=andes_spark/spark/log4j2.properties" \
        jobs/apply_changes.py "$@"
}

feed=tests/data/orders.wal2json.jsonl.xz
submit "$folder/orders" "$feed" --feed-table public.orders --primary-key order_id --source shop \
    --changes-per-batch 4000 --compare-with tests/data/orders.final.parquet --view orders \
    --sql "SELECT status, count(*) AS orders, sum(amount) AS amount FROM orders GROUP BY status ORDER BY status"
submit "$folder/customers" "$feed" --feed-table public.customers --primary-key region --primary-key code \
    --source shop --changes-per-batch 100 --compare-with tests/data/customers.final.parquet --view customers \
    --sql "SELECT region, count(*) AS customers FROM customers GROUP BY region ORDER BY region"
printf '\nThe tables are in %s; open one with ModTable.open in Python, or look at it by: .venv/bin/andes table status %s/orders\n' "$folder" "$folder"
