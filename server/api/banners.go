package api

import (
	"fmt"
	"net/http"

	"github.com/causewayhq/causeway/server/define"
	"github.com/causewayhq/causeway/server/store"
)

type bannerBody struct {
	Enabled         bool   `json:"enabled"`
	Message         string `json:"message"`
	BackgroundColor string `json:"background_color,omitempty"`
}

// appearanceBody has the members by which clients of this path know it. Of them
// only the banners can be set here.
type appearanceBody struct {
	ApplicationName string       `json:"application_name"`
	LogoURL         string       `json:"logo_url"`
	DocsURL         string       `json:"docs_url,omitempty"`
	ServiceBanner   *bannerBody  `json:"service_banner,omitempty"`
	Banners         []bannerBody `json:"announcement_banners"`
}

// firstBanner is the one that programs show that know one only.
func firstBanner(banners []store.Banner) store.Banner {
	for _, banner := range banners {
		if banner.Enabled {
			return banner
		}
	}
	return store.Banner{}
}

func describeAppearance(banners []store.Banner) appearanceBody {
	first := bannerBody(firstBanner(banners))
	body := appearanceBody{Banners: []bannerBody{}, ServiceBanner: &first}
	for _, banner := range banners {
		body.Banners = append(body.Banners, bannerBody(banner))
	}
	return body
}

func (s *Server) getAppearance(r *http.Request) (int, any, error) {
	if _, _, err := s.user(r); err != nil {
		return 0, nil, err
	}
	banners, err := s.config.Store.Banners(r.Context())
	return http.StatusOK, describeAppearance(banners), err
}

// putAppearance replaces all banners. Agents ask for them each two minutes.
func (s *Server) putAppearance(r *http.Request) (int, any, error) {
	if _, err := s.admin(r); err != nil {
		return 0, nil, err
	}
	var request appearanceBody
	if err := readJSON(r, &request); err != nil {
		return 0, nil, err
	}
	for field, value := range map[string]string{"application_name": request.ApplicationName, "logo_url": request.LogoURL, "docs_url": request.DocsURL} {
		if value != "" {
			return 0, nil, rejectField(http.StatusBadRequest, "Only banners can be set.", field, "Leave it empty.")
		}
	}
	if request.Banners == nil && request.ServiceBanner != nil {
		request.Banners = []bannerBody{*request.ServiceBanner}
	}
	var banners []store.Banner
	for _, banner := range request.Banners {
		banners = append(banners, store.Banner(banner))
	}
	if i, err := define.CheckBanners(banners); err != nil {
		return 0, nil, rejectField(http.StatusBadRequest, "The banners are not valid.", fmt.Sprintf("announcement_banners[%d]", i), err.Error())
	}
	if err := s.config.Store.SetBanners(r.Context(), banners); err != nil {
		return 0, nil, err
	}
	return http.StatusOK, describeAppearance(banners), nil
}
