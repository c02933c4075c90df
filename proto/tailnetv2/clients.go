package tailnetv2

import "context"

// Client20 is what API version 2.0 offers. Code that asks a server for 2.0
// holds this type, so that a newer RPC does not even compile.
type Client20 interface {
	Coordinate(ctx context.Context) (DRPCTailnet_CoordinateClient, error)
	StreamDERPMaps(ctx context.Context, in *StreamDERPMapsRequest) (DRPCTailnet_StreamDERPMapsClient, error)
}

// Client22 is what API version 2.2 offers.
type Client22 interface {
	Client20
	PostTelemetry(ctx context.Context, in *TelemetryRequest) (*TelemetryResponse, error)
}

// Client23 is what API version 2.3 offers.
type Client23 interface {
	Client22
	RefreshResumeToken(ctx context.Context, in *RefreshResumeTokenRequest) (*RefreshResumeTokenResponse, error)
	WorkspaceUpdates(ctx context.Context, in *WorkspaceUpdatesRequest) (DRPCTailnet_WorkspaceUpdatesClient, error)
}
