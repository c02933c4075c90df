package tailnetsvc

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/uuid"
)

func sign(t *testing.T, algorithm jose.SignatureAlgorithm, secret any, keyID, payload string) string {
	t.Helper()
	options := &jose.SignerOptions{}
	if keyID != "" {
		options = options.WithHeader("kid", keyID)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: secret}, options)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign([]byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestResumeTokens(t *testing.T) {
	key, other := NewKey(), NewKey()
	keys := must[*ResumeKeys](t)(NewResumeKeys(key))
	peer, owner := uuid.New(), uuid.New()
	later := time.Now().Add(time.Hour).Unix()
	claims := fmt.Sprintf(`{"sub":%q,"exp":%d}`, peer, later)
	bound := fmt.Sprintf(`{"sub":%q,"exp":%d,"own":%q}`, peer, later, uuid.New())
	good := sign(t, jose.HS512, key.Secret, key.ID, claims)
	parts := strings.Split(good, ".")
	private := must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 2048))
	none := base64.RawURLEncoding.EncodeToString([]byte(fmt.Sprintf(`{"alg":"none","kid":%q}`, key.ID))) + "." + parts[1] + "."

	for name, test := range map[string]struct {
		token string
		want  error
	}{
		"good":               {good, nil},
		"no kid":             {sign(t, jose.HS512, key.Secret, "", claims), ErrResumeTooOld},
		"another key":        {sign(t, jose.HS512, other.Secret, other.ID, claims), ErrResumeToken},
		"forged kid":         {sign(t, jose.HS512, other.Secret, key.ID, claims), ErrResumeToken},
		"HS256":              {sign(t, jose.HS256, key.Secret, key.ID, claims), ErrResumeToken},
		"RS256":              {sign(t, jose.RS256, private, key.ID, claims), ErrResumeToken},
		"alg none":           {none, ErrResumeToken},
		"expired":            {sign(t, jose.HS512, key.Secret, key.ID, fmt.Sprintf(`{"sub":%q,"exp":%d}`, peer, time.Now().Add(-time.Minute).Unix())), ErrResumeToken},
		"no expiry":          {sign(t, jose.HS512, key.Secret, key.ID, fmt.Sprintf(`{"sub":%q}`, peer)), ErrResumeToken},
		"no subject":         {sign(t, jose.HS512, key.Secret, key.ID, fmt.Sprintf(`{"exp":%d}`, later)), ErrResumeToken},
		"bad subject":        {sign(t, jose.HS512, key.Secret, key.ID, fmt.Sprintf(`{"sub":"me","exp":%d}`, later)), ErrResumeToken},
		"subject as URN":     {sign(t, jose.HS512, key.Secret, key.ID, fmt.Sprintf(`{"sub":"urn:uuid:%s","exp":%d}`, peer, later)), ErrResumeToken},
		"claims no JSON":     {sign(t, jose.HS512, key.Secret, key.ID, "hello"), ErrResumeToken},
		"of another user":    {sign(t, jose.HS512, key.Secret, key.ID, bound), ErrResumeToken},
		"empty":              {"", ErrResumeToken},
		"noise":              {"a.b.c", ErrResumeToken},
		"two parts":          {parts[0] + "." + parts[1], ErrResumeToken},
		"cut signature":      {good[:len(good)-4], ErrResumeToken},
		"changed payload":    {parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(strings.Replace(claims, "exp", "exq", 1))) + "." + parts[2], ErrResumeToken},
		"two signatures":     {fmt.Sprintf(`{"payload":%q,"signatures":[{"protected":%q,"signature":%q},{"protected":%q,"signature":%q}]}`, parts[1], parts[0], parts[2], parts[0], parts[2]), ErrResumeToken},
		"endless":            {strings.Repeat("a", 1<<20), ErrResumeToken},
		"good with a tail":   {good + ".x", ErrResumeToken},
		"good with a blank":  {good + "\x00", ErrResumeToken},
		"good but lowercase": {strings.ToLower(good), ErrResumeToken},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := keys.Verify(test.token, owner)
			if !errors.Is(err, test.want) || (test.want == nil) != (got == peer) {
				t.Errorf("got %s, %v", got, err)
			}
			if err != nil && len(test.token) > 8 && strings.Contains(err.Error(), test.token) {
				t.Error("the error has the token")
			}
		})
	}
}

func TestIssueAndRotate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, fresh := NewKey(), NewKey()
		before := must[*ResumeKeys](t)(NewResumeKeys(old))
		after := must[*ResumeKeys](t)(NewResumeKeys(fresh, old))
		peer, owner := uuid.New(), uuid.New()
		got, err := before.Issue(peer, owner)
		if err != nil {
			t.Fatal(err)
		}
		if got.GetRefreshIn().AsDuration() != 12*time.Hour || !got.GetExpiresAt().AsTime().Equal(time.Now().Add(24*time.Hour).Truncate(time.Second)) {
			t.Errorf("issued %v, %v", got.GetRefreshIn(), got.GetExpiresAt())
		}
		for range 2 {
			if id, err := after.Verify(got.GetToken(), owner); id != peer || err != nil {
				t.Errorf("after rotation: %s, %v", id, err)
			}
			time.Sleep(ResumeLife - time.Second) // and at the last moment; then not
			if time.Now().After(got.GetExpiresAt().AsTime()) {
				break
			}
		}
		time.Sleep(2 * time.Second)
		if _, err := after.Verify(got.GetToken(), owner); !errors.Is(err, ErrResumeToken) {
			t.Errorf("expired token: %v", err)
		}
		newer, err := after.Issue(peer, owner)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := before.Verify(newer.GetToken(), owner); !errors.Is(err, ErrResumeToken) {
			t.Errorf("token of the newer key: %v", err)
		}
		if _, err := after.Verify(newer.GetToken(), uuid.New()); !errors.Is(err, ErrResumeToken) {
			t.Errorf("token in other hands: %v", err)
		}
	})
}

// TestReplaceKeys: a token is good exactly as long as its key is kept.
func TestReplaceKeys(t *testing.T) {
	first, second, third := NewKey(), NewKey(), NewKey()
	keys := must[*ResumeKeys](t)(NewResumeKeys(first))
	peer, owner := uuid.New(), uuid.New()
	issue := func() string {
		t.Helper()
		got, err := keys.Issue(peer, owner)
		if err != nil {
			t.Fatal(err)
		}
		return got.GetToken()
	}
	replace := func(with ...Key) {
		t.Helper()
		if err := keys.Replace(with...); err != nil {
			t.Fatal(err)
		}
	}
	good := func(when, token string, want bool) {
		t.Helper()
		id, err := keys.Verify(token, owner)
		if want != (err == nil && id == peer) || !want && !errors.Is(err, ErrResumeToken) {
			t.Errorf("%s: %s, %v", when, id, err)
		}
	}
	old := issue()
	replace(second, first)
	newer := issue()
	good("old key kept", old, true)
	good("new key", newer, true)
	replace(third, second)
	good("old key removed", old, false)
	good("new key kept", newer, true)
	if err := keys.Replace(); err == nil {
		t.Error("no key at all was taken")
	}
	if err := keys.Replace(Key{ID: "bad"}); err == nil {
		t.Error("a bad key was taken")
	}
	good("after keys that are none", newer, true)
}

func TestKeysThatAreNone(t *testing.T) {
	for name, keys := range map[string][]Key{
		"none": nil, "no id": {{Secret: NewKey().Secret}}, "short": {{ID: "a", Secret: make([]byte, 63)}}, "second is bad": {NewKey(), {ID: "b"}},
	} {
		if _, err := NewResumeKeys(keys...); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	key := NewKey()
	for _, format := range []string{"%v", "%+v", "%s", "%#v"} {
		if text := fmt.Sprintf(format, key); strings.Contains(text, fmt.Sprintf("%d", key.Secret[0])+" ") || !strings.Contains(text, key.ID) {
			t.Errorf("%s prints %s", format, text)
		}
	}
}

func FuzzVerifyResumeToken(f *testing.F) {
	key := Key{ID: "k", Secret: make([]byte, 64)}
	keys, err := NewResumeKeys(key)
	if err != nil {
		f.Fatal(err)
	}
	good, err := keys.Issue(uuid.Nil, uuid.Nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good.GetToken())
	f.Add("..")
	f.Add(`{"payload":""}`)
	f.Fuzz(func(t *testing.T, token string) {
		if id, err := keys.Verify(token, uuid.New()); err == nil {
			t.Errorf("%q verifies for %s", token, id) // the one good token is of another owner
		}
	})
}
