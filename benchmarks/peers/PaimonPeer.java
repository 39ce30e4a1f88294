import java.io.DataInputStream;
import java.io.BufferedInputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import org.apache.paimon.catalog.Catalog;
import org.apache.paimon.catalog.CatalogContext;
import org.apache.paimon.catalog.CatalogFactory;
import org.apache.paimon.catalog.Identifier;
import org.apache.paimon.data.BinaryString;
import org.apache.paimon.data.Decimal;
import org.apache.paimon.data.GenericRow;
import org.apache.paimon.data.InternalRow;
import org.apache.paimon.data.Timestamp;
import org.apache.paimon.disk.IOManager;
import org.apache.paimon.options.Options;
import org.apache.paimon.reader.RecordReader;
import org.apache.paimon.schema.Schema;
import org.apache.paimon.table.Table;
import org.apache.paimon.table.sink.BatchTableCommit;
import org.apache.paimon.table.sink.BatchTableWrite;
import org.apache.paimon.table.sink.BatchWriteBuilder;
import org.apache.paimon.table.source.ReadBuilder;
import org.apache.paimon.table.source.Split;
import org.apache.paimon.types.DataTypes;
import org.apache.paimon.types.RowKind;

/**
 * Applies batches to a primary key table by Paimon's own Java core, without Spark or Flink.
 *
 * Arguments: folder, mode (mor or dv), buckets, rows of the base, number of batches that are applied however long they
 * take, seconds after which no further one is begun, then files of batches. A file holds three
 * big-endian longs for each mod: key, sequence, and 1 for a delete; the other columns follow from key and sequence,
 * with the types and the randomness of benchmarks/data.py. Prints one line of JSON for each step.
 */
public class PaimonPeer {
    private static final int LSN = 1;

    private static long mix(long z) {
        z = (z ^ (z >>> 30)) * 0xbf58476d1ce4e5b9L;
        z = (z ^ (z >>> 27)) * 0x94d049bb133111ebL;
        return z ^ (z >>> 31);
    }

    private static GenericRow row(RowKind kind, long id, long lsn) {
        long hash = mix(id * 31 + lsn * 1_000_003 + 1);
        long number = Math.floorMod(hash, 1_000_000L);
        return GenericRow.ofKind(
                kind,
                id,
                lsn,
                BinaryString.fromString(String.format("customer-%06d", number)),
                Decimal.fromUnscaledLong(Math.floorMod(hash >> 5, 100_000_000L), 12, 2),
                (hash >>> 11) * 0x1.0p-53 * 1000,
                Timestamp.fromMicros(1_700_000_000_000_000L + lsn * 1000),
                (int) Math.floorMod(hash >> 7, 1000L),
                Math.floorMod(hash >> 9, 10L) != 0);
    }

    private static List<GenericRow> batch(Path path) throws Exception {
        long count = Files.size(path) / 24;
        List<GenericRow> rows = new ArrayList<>((int) count);
        try (DataInputStream input = new DataInputStream(new BufferedInputStream(Files.newInputStream(path), 1 << 20))) {
            for (long number = 0; number < count; number++) {
                long id = input.readLong();
                long lsn = input.readLong();
                rows.add(row(input.readLong() == 1 ? RowKind.DELETE : RowKind.INSERT, id, lsn));
            }
        }
        return rows;
    }

    private static double write(Table table, Iterator<GenericRow> rows, String spill) throws Exception {
        long begin = System.nanoTime();
        BatchWriteBuilder builder = table.newBatchWriteBuilder();
        try (BatchTableWrite write = builder.newWrite(); BatchTableCommit commit = builder.newCommit()) {
            write.withIOManager(IOManager.create(spill));
            while (rows.hasNext()) {
                write.write(rows.next());
            }
            commit.commit(write.prepareCommit());
        }
        return (System.nanoTime() - begin) / 1e9;
    }

    private static Table create(String folder, String mode, String buckets) throws Exception {
        Options options = new Options();
        options.set("warehouse", folder + "/warehouse");
        Catalog catalog = CatalogFactory.createCatalog(CatalogContext.create(options));
        catalog.createDatabase("lake", true);
        Schema.Builder schema = Schema.newBuilder()
                .column("id", DataTypes.BIGINT().notNull())
                .column("lsn", DataTypes.BIGINT())
                .column("name", DataTypes.STRING())
                .column("amount", DataTypes.DECIMAL(12, 2))
                .column("weight", DataTypes.DOUBLE())
                .column("updated_at", DataTypes.TIMESTAMP(6))
                .column("quantity", DataTypes.INT())
                .column("active", DataTypes.BOOLEAN())
                .primaryKey("id")
                .option("bucket", buckets)
                .option("file.format", "parquet")
                .option("file.compression", "zstd")
                .option("sequence.field", "lsn");
        if (mode.equals("dv")) {
            schema.option("deletion-vectors.enabled", "true");
        }
        Identifier name = Identifier.create("lake", "orders");
        catalog.createTable(name, schema.build(), false);
        return catalog.getTable(name);
    }

    private static long[] sums(Table table) throws Exception {
        long[] sums = new long[3];
        ReadBuilder builder = table.newReadBuilder();
        for (Split split : builder.newScan().plan().splits()) {
            try (RecordReader<InternalRow> reader = builder.newRead().createReader(split)) {
                reader.forEachRemaining(row -> {
                    sums[0]++;
                    sums[1] += row.getLong(0);
                    sums[2] += row.getLong(LSN);
                });
            }
        }
        return sums;
    }

    public static void main(String[] arguments) throws Exception {
        String folder = arguments[0];
        long rows = Long.parseLong(arguments[3]);
        Table table = create(folder, arguments[1], arguments[2]);
        long[] next = {0};
        Iterator<GenericRow> base = new Iterator<>() {
            public boolean hasNext() {
                return next[0] < rows;
            }

            public GenericRow next() {
                long id = next[0]++;
                return row(RowKind.INSERT, id, id);
            }
        };
        System.out.printf("{\"load\": %.4f}%n", write(table, base, folder + "/spill"));
        int needed = Integer.parseInt(arguments[4]);
        double end = Double.POSITIVE_INFINITY;
        for (int number = 0; number < arguments.length - 6; number++) {
            double now = System.nanoTime() / 1e9;
            end = number == needed ? now + Double.parseDouble(arguments[5]) : end;
            if (now > end) {
                break;
            }
            String path = arguments[6 + number];
            Iterator<GenericRow> mods = batch(Path.of(path)).iterator();
            System.out.printf("{\"apply\": %.5f}%n", write(table, mods, folder + "/spill"));
        }
        long[] sums = sums(table);
        System.out.printf("{\"sums\": [%d, %d, %d]}%n", sums[0], sums[1], sums[2]);
        System.exit(0);
    }
}
