/// The version of daemon, client and the JSON contract between them.
public enum HostAPIVersion {
    public static let current = "0.1.0"
}
