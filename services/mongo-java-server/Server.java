import de.bwaldvogel.mongo.MongoServer;
import de.bwaldvogel.mongo.MongoVersion;
import de.bwaldvogel.mongo.backend.memory.MemoryBackend;
import de.bwaldvogel.mongo.bson.Document;
import de.bwaldvogel.mongo.wire.message.MongoMessage;
import java.util.List;

/** mongo-java-server as a MongoDB for tests, which keeps everything in memory: java -cp 'dist/jars/*' Server.java PORT */
class Server {
  /** The oldest that today's clients take; what it says by itself is older. */
  static class Version implements MongoVersion {
    public List<Integer> getVersionArray() {
      return List.of(4, 4, 0);
    }

    public int getWireVersion() {
      return 9;
    }
  }

  /** One command at a time: what is written while an index is created fails there now and then. */
  static class Backend extends MemoryBackend {
    @Override
    public synchronized Document handleMessage(MongoMessage message) {
      return super.handleMessage(message);
    }
  }

  public static void main(String[] args) {
    MemoryBackend backend = new Backend();
    backend.version(new Version());
    new MongoServer(backend).bind("127.0.0.1", Integer.parseInt(args[0]));
  }
}
