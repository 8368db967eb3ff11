public import ArgumentParser
public import HostAPI

extension CompressionMode: ExpressibleByArgument {}
