package mux

// Err says why the session has ended; nil while it lives.
func (c *Client) Err() error {
	select {
	case <-c.Closed():
		// Nothing is ever accepted here: the far side opens no streams.
		_, err := c.session.AcceptStream()
		return err
	default:
		return nil
	}
}
