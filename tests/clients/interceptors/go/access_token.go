package calls

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	authv1 "shop.example/gen/accord/auth/v1"
)

// AccessToken is the service's own access token: one for all calls, gotten anew before it ends. A connection presents it with
// each call when it is made with grpc.WithPerRPCCredentials.
type AccessToken struct {
	Auth             authv1.TokenServiceClient
	ClientID, Secret string

	mutex        sync.Mutex
	token        string
	renews, ends time.Time
}

// GetRequestMetadata is asked before each call. All who wait for a token share one login.
func (t *AccessToken) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	// While auth is down, the token is good for the last third of its life.
	if asked := time.Now(); asked.After(t.renews) {
		if err := t.issue(ctx, asked); err != nil && asked.After(t.ends) {
			// The service's own fault, which is not to look like one of its caller's credential.
			problem := "this service could not log in to auth as `%s`: %s"
			return nil, status.Errorf(codes.Unavailable, problem, t.ClientID, status.Code(err))
		}
	}
	return map[string]string{"authorization": "Bearer " + t.token}, nil
}

func (t *AccessToken) issue(ctx context.Context, asked time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	grant := &authv1.ClientCredentialsGrant{ClientId: t.ClientID, ClientSecret: t.Secret}
	request := &authv1.IssueRequest{Grant: &authv1.IssueRequest_ClientCredentials{ClientCredentials: grant}}
	issued, err := t.Auth.Issue(ctx, request)
	if err != nil {
		return err
	}
	life := issued.ExpiresIn.AsDuration()
	t.token, t.renews, t.ends = issued.AccessToken, asked.Add(life*2/3), asked.Add(life)
	return nil
}

// RequireTransportSecurity is false where the internal listener serves plaintext.
func (*AccessToken) RequireTransportSecurity() bool { return false }
